//! A server refuses to run as root, and the agent runs as the server's own user. So under root each test runs itself again
//! as `nobody`, from a copy of the executable which that user can read.

use std::{
    fs::Permissions,
    future::Future,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(300);

/// Runs `test` as a user who may run a server. `name` is the test's own full name.
pub(crate) fn as_server_user<F: Future<Output = ()>>(name: &str, test: impl FnOnce(PathBuf) -> F) {
    as_server_user_with(name, &[], test);
}

/// The same, and tells it `known` in its environment.
pub(crate) fn as_server_user_with<F: Future<Output = ()>>(name: &str, known: &[(&str, &Path)], test: impl FnOnce(PathBuf) -> F) {
    if !nix::unistd::geteuid().is_root() {
        let base = tempfile::Builder::new().prefix("flytt-ma").tempdir_in("/tmp").unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        // Within the test, so that what it started ends also when it hangs.
        let limited = async { tokio::time::timeout(LIMIT, test(base.path().to_owned())).await };
        runtime.block_on(limited).expect("the test ends");
        return;
    }
    // A test's own copy, so that it goes with the test.
    let place =
        tempfile::Builder::new().prefix("flytt-exe").permissions(Permissions::from_mode(0o755)).tempdir_in("/tmp").unwrap();
    let copy = place.path().join("test");
    let own = std::env::current_exe().unwrap();
    if std::fs::hard_link(&own, &copy).is_err() {
        std::fs::copy(&own, &copy).unwrap();
    }
    let output = Command::new("/usr/sbin/runuser")
        .args(["-u", "nobody", "--"])
        .arg(copy)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .envs(known.iter().copied())
        .current_dir("/")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
}
