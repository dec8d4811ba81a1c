//! A server refuses to run as root, and the agent runs as the server's own user. So under root each test runs itself again
//! as `postgres`, from a copy of the executable which that user can read.

use std::{
    future::Future,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(150);

/// Runs `test` as a user who may run a server. `name` is the test's own full name.
pub(crate) fn as_server_user<F: Future<Output = ()>>(name: &str, test: impl FnOnce(PathBuf) -> F) {
    if !nix::unistd::geteuid().is_root() {
        let base = tempfile::Builder::new().prefix("flytt-pg").tempdir_in("/tmp").unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        // Within the test, so that what it started ends also when it hangs.
        let limited = async { tokio::time::timeout(LIMIT, test(base.path().to_owned())).await };
        runtime.block_on(limited).expect("the test ends");
        return;
    }
    let status = Command::new("/usr/sbin/runuser")
        .args(["-u", "postgres", "--"])
        .arg(copy())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .current_dir("/")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&status.stdout), String::from_utf8_lossy(&status.stderr));
    assert!(status.status.success() && out.contains("1 passed"), "{out}\n{err}");
}

fn copy() -> &'static Path {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let own = std::env::current_exe().unwrap();
        // Named by process, so that two runs do not meet; taken away by the next run if this one cannot.
        let place = std::env::temp_dir().join(format!("flytt-test-exe-{}", std::process::id()));
        for old in std::fs::read_dir(std::env::temp_dir()).unwrap().filter_map(Result::ok) {
            let name = old.file_name().to_string_lossy().into_owned();
            if let Some(process) = name.strip_prefix("flytt-test-exe-")
                && !Path::new("/proc").join(process).exists()
            {
                let _ = std::fs::remove_file(old.path());
            }
        }
        std::fs::copy(own, &place).unwrap();
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).unwrap();
        place
    })
}
