//! The server that all others stand on: it starts, says what it is, and stops.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::{
    server::{MYSQLD, Server, user, value},
    user::as_server_user,
};

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn a_server_starts_and_stops() {
    as_server_user("smoke::a_server_starts_and_stops", |base| async move {
        let server = Server::empty(&base, "one", 1).await;
        let mut conn = server.by_socket(&user(), None).await.unwrap();
        let version = value(&mut conn, "select version()").await;
        println!("MySQL {version}");
        assert!(version.split('.').next().unwrap().parse::<u32>().unwrap() >= 8);
        assert_eq!(value(&mut conn, "select @@gtid_mode").await, "ON");
        assert_eq!(value(&mut conn, "select @@global.gtid_executed").await, "", "its first transaction is nobody's yet");
        drop(conn);

        let process = server.process().expect("it is found by its directory");
        let program = std::fs::read_link(format!("/proc/{process}/exe")).unwrap();
        assert_eq!(program.to_str(), Some(MYSQLD), "a program's name is its own, not its loader's");
        server.signal(Signal::SIGTERM);
        let begun = Instant::now();
        while server.process().is_some() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not stop: {}", server.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(server.log().contains("Shutdown complete"), "{}", server.log());
        server.start().await;
        let conn = mysql_async::Conn::new(crate::server::by_tcp(server.port, "nobody-is-called-so", "")).await;
        assert!(matches!(conn, Err(mysql_async::Error::Server(_))), "it listens: {conn:?}");
    });
}
