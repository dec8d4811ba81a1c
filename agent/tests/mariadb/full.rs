//! A target whose disk fills up in the import says so, keeps nothing partial, and goes on where it was once there is room.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use flytt_agent::change::Change;
use mysql_async::prelude::Queryable as _;

use crate::{
    apply::one,
    dump::{digest, fill_pieces, load},
    everything,
    server::{Server, value},
    tunnel,
    user::as_server_user_with,
};

/// Where root has mounted a small disk.
const SMALL: &str = "FLYTT_TEST_FULL_DISK";

/// Unmounted also when the test fails.
struct Mounted(tempfile::TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("/usr/bin/umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// Only root can make a disk that is small.
#[test]
fn a_disk_that_fills_in_the_import_ends_it_and_with_room_it_goes_on() {
    let name = "full::a_disk_that_fills_in_the_import_ends_it_and_with_room_it_goes_on";
    let mounted = nix::unistd::geteuid().is_root().then(|| {
        let place = tempfile::Builder::new().prefix("flytt-full").tempdir_in("/tmp").unwrap();
        let run =
            Command::new("/usr/bin/mount").args(["-t", "tmpfs", "-o", "size=700m,mode=0777", "tmpfs"]).arg(place.path()).status();
        assert!(run.unwrap().success());
        Mounted(place)
    });
    let known: Vec<(&str, &Path)> = mounted.iter().map(|mounted| (SMALL, mounted.0.path())).collect();
    as_server_user_with(name, &known, |base| async move {
        let Some(small) = std::env::var_os(SMALL) else { return };
        let small = PathBuf::from(small);
        let source = Server::source(&base).await;
        source.root_session().await.query_drop("insert into app.writes values (99, 1)").await.unwrap();
        fill_pieces(&source).await;
        for sql in everything::WHOLE {
            source.root_session().await.query_drop(*sql).await.unwrap();
        }
        tunnel::agent(&small, &source);
        let target = Server::target(&small).await;
        let about = nix::sys::statvfs::statvfs(&small).unwrap();
        let free = about.blocks_available() * about.fragment_size();
        // Room for some of the pieces, and not for the large one.
        let other = small.join("other");
        fs::write(&other, vec![0; usize::try_from(free).unwrap() - (22 << 20)]).unwrap();
        let failure = one(&target, &Change::Load(load(0))).await.unwrap_err();
        assert_eq!(failure.code, "NO_SPACE", "{failure:?}");
        let count = "select count(*) from app.whole";
        assert_eq!(value(&mut target.root_session().await, count).await, "0", "a part of a piece is there");
        fs::remove_file(&other).unwrap();
        one(&target, &Change::Load(load(0))).await.unwrap();
        assert_eq!(value(&mut target.root_session().await, count).await, "100000");
        assert_eq!(digest(&source).await, digest(&target).await);
    });
}
