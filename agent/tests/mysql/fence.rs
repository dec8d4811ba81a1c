//! The fence alone: nobody writes past it, whoever they are, and it goes again without a trace.

use std::time::Duration;

use flytt_agent::{
    change::{Change, Verb},
    engine::{Engine as _, Intent, Serving},
};
use flytt_proto::name::Position;
use mysql_async::{Conn, prelude::Queryable as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    apply::{admitted, apply, one, shop, take_back, undo},
    server::{Server, user, value},
    user::as_server_user,
};

/// One of each kind that has ever written through a `read_only` server.
const KINDS: [&str; 5] = ["app", "super", "admin", "dump", "roled"];

async fn all_kinds(source: &Server) {
    let mut root = source.root_session().await;
    for sql in [
        "create user super@localhost identified by 'x'",
        "grant super on *.* to super@localhost",
        "create user admin@localhost identified by 'x'",
        "grant connection_admin on *.* to admin@localhost",
        "create user dump@localhost identified by 'x'",
        "grant replication slave, replication_slave_admin, reload on *.* to dump@localhost",
        "create role writer",
        "grant all privileges on *.* to writer",
        "create user roled@localhost identified by 'x'",
        "grant writer to roled@localhost",
        "set default role writer to roled@localhost",
        "create user app@localhost identified by 'app' attribute '{\"owner\": \"shop\"}'",
        "create user barred@localhost identified by 'x' account lock",
        "create definer = root@localhost procedure app.write_as_root(n int) insert into app.writes values (90, n)",
        "create event app.tick on schedule every 1 second do insert into app.writes \
         select 91, coalesce(max(number), 0) + 1 from app.writes where writer = 91",
    ] {
        root.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    for user in KINDS {
        root.query_drop(format!("grant insert, select, execute on app.* to {user}@localhost")).await.unwrap();
    }
}

fn password(kind: &str) -> &'static str {
    if kind == "app" { "app" } else { "x" }
}

async fn in_as(source: &Server, kind: &str) -> Result<Conn, mysql_async::Error> {
    source.by_socket(kind, Some(password(kind))).await
}

/// The number of a server error, or 0.
fn code(error: &mysql_async::Error) -> u16 {
    if let mysql_async::Error::Server(server) = error { server.code } else { 0 }
}

async fn end(source: &Server) -> Position {
    source.engine.final_position(&shop()).await.unwrap()
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn nobody_writes_past_it_and_it_goes_without_a_trace() {
    as_server_user("fence::nobody_writes_past_it_and_it_goes_without_a_trace", |base| async move {
        let source = Server::source(&base).await;
        all_kinds(&source).await;
        admitted(&source).await;
        assert!(!source.engine.is_closed(&shop()).await.unwrap());

        // What `super_read_only` alone is worth: of all these, two pass it, and both stand in the binary log.
        let mut root = source.root_session().await;
        for sql in ["xa start 'a'", "insert into app.writes values (1, 0)", "xa end 'a'", "xa prepare 'a'"] {
            root.query_drop(sql).await.unwrap();
        }
        drop(root);
        let mut root = source.root_session().await;
        root.query_drop("set global super_read_only = on").await.unwrap();
        for kind in ["app", "super", "admin"] {
            let mut conn = in_as(&source, kind).await.unwrap();
            for sql in [
                "insert into app.writes values (2, 0)",
                "call app.write_as_root(0)",
                "create table app.more (id int)",
                "grant select on app.* to dump@localhost",
                "create event app.more on schedule every 1 second do insert into app.writes values (2, 1)",
                "set session sql_log_bin = 0; insert into app.writes values (2, 2)",
            ] {
                let refused = conn.query_drop(sql).await.err().map(|error| code(&error));
                assert!(matches!(refused, Some(1290 | 1044 | 1142 | 1227)), "{kind}: {sql}: {refused:?}");
            }
        }
        let before = source.engine.position().await.unwrap();
        root.query_drop("xa commit 'a'").await.expect("a prepared transaction passes");
        in_as(&source, "dump").await.unwrap().query_drop("flush privileges").await.expect("so does this");
        let Position::Mysql(after) = source.engine.position().await.unwrap() else { panic!("another engine's") };
        let Position::Mysql(before) = before else { panic!("another engine's") };
        assert_eq!(after.without(&before).count(), 2);
        root.query_drop("set global super_read_only = off, global read_only = off").await.unwrap();

        let mut old = Vec::new();
        for kind in KINDS {
            let mut conn = in_as(&source, kind).await.unwrap();
            conn.query_drop("select 1").await.unwrap();
            old.push(conn);
        }
        let changes = apply(&source, &Intent::Fence { drain_ms: 0 }).await;
        let end = end(&source).await;
        assert!(source.engine.is_closed(&shop()).await.unwrap());
        assert_eq!(source.engine.serving().await.unwrap(), Serving::Standby);
        for (kind, conn) in KINDS.into_iter().zip(&mut old) {
            assert!(conn.query_drop("insert into app.writes values (99, 99)").await.is_err(), "{kind}'s old session writes");
            let refused = in_as(&source, kind).await.err().unwrap_or_else(|| panic!("{kind} gets in"));
            assert_eq!(code(&refused), 3118, "{kind}: {refused}");
        }
        assert!(root.query_drop("insert into app.writes values (99, 98)").await.is_err(), "root's old session writes");
        for account in [user().as_str(), "root"] {
            assert!(source.by_socket(account, None).await.is_err(), "{account} gets in by the socket");
        }
        assert!(source.by_tcp("app", "app").await.is_err(), "by TCP");
        let ours = std::fs::read_to_string(source.root.join("state/secret/_agent.pgpass")).unwrap();
        let ours = source.by_socket("flytt_agent", ours.trim_end().rsplit(':').next()).await;
        let refused = ours.unwrap().query_drop("insert into app.writes values (99, 97)").await.unwrap_err();
        assert_eq!(code(&refused), 1290, "the agent itself writes");
        // Events fire every second.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let after = source.engine.position().await.unwrap();
        assert_eq!(after, end, "something was written behind the fence");

        undo(&source, &changes).await;
        assert_eq!(source.engine.serving().await.unwrap(), Serving::Writable);
        for kind in KINDS {
            in_as(&source, kind).await.unwrap().query_drop("select 1").await.unwrap();
        }
        assert_eq!(code(&in_as(&source, "barred").await.unwrap_err()), 3118, "what was locked before stays locked");
        let mut root = source.root_session().await;
        assert_eq!(value(&mut root, "select count(*) from app.writes where writer = 99").await, "0");
        assert_eq!(value(&mut root, "select @@global.event_scheduler").await, "ON");
        let attributes =
            "select group_concat(concat(user, ' ', User_attributes)) from mysql.user where User_attributes is not null";
        assert_eq!(value(&mut root, attributes).await, r#"app {"metadata": {"owner": "shop"}}"#, "the owner's stay, ours go");
        assert_eq!(value(&mut root, "select count(*) from performance_schema.persisted_variables").await, "0");
        let events = "select count(*) from app.writes where writer = 91";
        let before = value(&mut root, events).await;
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_ne!(value(&mut root, events).await, before, "events go on");
    });
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn it_holds_across_a_restart_and_a_server_that_is_down_is_not_forgotten() {
    as_server_user("fence::it_holds_across_a_restart_and_a_server_that_is_down_is_not_forgotten", |base| async move {
        let source = Server::source(&base).await;
        all_kinds(&source).await;
        admitted(&source).await;
        let changes = apply(&source, &Intent::Fence { drain_ms: 0 }).await;
        let surrendered = apply(&source, &Intent::Surrender).await;
        let end = end(&source).await;
        source.kill().await;
        assert!(source.engine.is_closed(&shop()).await.unwrap(), "a server that is down lets nobody in");
        source.start().await;
        assert!(source.engine.is_closed(&shop()).await.unwrap(), "it comes up open");
        for kind in KINDS {
            assert!(in_as(&source, kind).await.is_err(), "{kind} gets in after the restart");
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(source.engine.position().await.unwrap().covers(&end), Some(true));
        assert_eq!(source.engine.final_position(&shop()).await.unwrap().covers(&end), Some(true));

        // The way back, with the server away: it must not be taken for done.
        source.kill().await;
        let close = changes.iter().find(|change| matches!(change, Change::Server(Verb::Close { .. }))).unwrap();
        let failure = take_back(&source, close).await.expect_err("nobody was there to unlock");
        assert_eq!(failure.code, "SERVER_DOWN");
        source.start().await;
        undo(&source, &surrendered).await;
        undo(&source, &changes).await;
        assert_eq!(source.engine.serving().await.unwrap(), Serving::Writable);
        let mut app = in_as(&source, "app").await.unwrap();
        app.query_drop("insert into app.writes values (1, 1)").await.unwrap();
        source.kill().await;
        source.start().await;
        assert_eq!(source.engine.serving().await.unwrap(), Serving::Writable, "nothing of the fence is left for the next start");
        in_as(&source, "app").await.unwrap().query_drop("insert into app.writes values (1, 2)").await.unwrap();
    });
}

/// A login that has been asked for its password and has not answered yet. It names another plugin than its account has, so that
/// the server asks again.
async fn stalled(source: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", source.port)).await.unwrap();
    packet(&mut stream).await.unwrap();
    let mut body = 0x0008_8205_u32.to_le_bytes().to_vec();
    body.extend((1_u32 << 24).to_le_bytes());
    body.push(33);
    body.extend([0; 23]);
    body.extend(b"open\0\0mysql_clear_password\0");
    stream.write_all(&framed(1, &body)).await.unwrap();
    assert_eq!(packet(&mut stream).await.unwrap().first(), Some(&0xfe), "asked to use another plugin");
    stream
}

fn framed(sequence: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&[length[0], length[1], length[2], sequence], body].concat()
}

async fn packet(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await.ok()?;
    let mut body = vec![0; usize::try_from(u32::from_le_bytes([header[0], header[1], header[2], 0])).unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some(body)
}

/// Whether it gets in when it answers at last, and can write.
async fn finish(mut stream: TcpStream) -> bool {
    let work = async {
        // The account has no password, so the answer is empty.
        stream.write_all(&framed(3, b"")).await.ok()?;
        packet(&mut stream).await.filter(|answer| answer.first() == Some(&0))?;
        stream.write_all(&framed(0, b"\x03insert into app.writes values (77, 77)")).await.ok()?;
        packet(&mut stream).await
    };
    tokio::time::timeout(Duration::from_secs(5), work).await.ok().flatten().is_some_and(|answer| answer.first() == Some(&0))
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn a_login_under_way_when_the_fence_comes_cannot_finish() {
    as_server_user("fence::a_login_under_way_when_the_fence_comes_cannot_finish", |base| async move {
        let source = Server::source(&base).await;
        let mut root = source.root_session().await;
        root.query_drop("create user open@'%'").await.unwrap();
        // It writes through read_only, so that nothing but the end of its login stops it.
        root.query_drop("grant all privileges on *.* to open@'%'").await.unwrap();
        admitted(&source).await;
        assert!(finish(stalled(&source).await).await, "without a fence it gets in");
        root.query_drop("delete from app.writes").await.unwrap();
        let logins = [stalled(&source).await, stalled(&source).await];
        let changes = apply(&source, &Intent::Fence { drain_ms: 0 }).await;
        end(&source).await;
        for login in logins {
            assert!(!finish(login).await, "a login from before the fence gets in behind it");
        }
        undo(&source, &changes).await;
        assert_eq!(value(&mut source.root_session().await, "select count(*) from app.writes").await, "0");
    });
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn a_transaction_may_finish_within_the_drain_and_no_longer() {
    as_server_user("fence::a_transaction_may_finish_within_the_drain_and_no_longer", |base| async move {
        let source = Server::source(&base).await;
        admitted(&source).await;
        let work = async |writer: i32, pause: f64| {
            let mut conn = source.by_tcp("app", "app").await?;
            conn.query_drop("begin").await?;
            conn.query_drop(format!("insert into app.writes values ({writer}, 1)")).await?;
            conn.query_drop(format!("do sleep({pause})")).await?;
            conn.query_drop("commit").await
        };
        let mut idle = source.by_tcp("app", "app").await.unwrap();
        let fence = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let begun = std::time::Instant::now();
            let changes = apply(&source, &Intent::Fence { drain_ms: 1500 }).await;
            (changes, begun.elapsed())
        };
        let (short, long, (changes, took)) = tokio::join!(work(1, 0.6), work(2, 30.0), fence);
        assert!(short.is_ok(), "it had time: {short:?}");
        assert!(long.is_err() && idle.query_drop("select 1").await.is_err());
        assert!(took >= Duration::from_millis(1500), "the drain was cut short");
        undo(&source, &changes).await;
        let mut root = source.root_session().await;
        assert_eq!(value(&mut root, "select group_concat(writer) from app.writes").await, "1");
    });
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn a_prepared_transaction_stops_it_and_is_named_beforehand() {
    as_server_user("fence::a_prepared_transaction_stops_it_and_is_named_beforehand", |base| async move {
        let source = Server::source(&base).await;
        admitted(&source).await;
        let mut app = source.by_tcp("app", "app").await.unwrap();
        for sql in ["xa start 'a'", "insert into app.writes values (5, 5)", "xa end 'a'", "xa prepare 'a'"] {
            app.query_drop(sql).await.unwrap();
        }
        let ready = flytt_proto::v1::Ready { lag_bytes: 0, long_transaction_ms: 60_000, role: 0, lag_ms: 0 };
        let found = source.engine.obstacles(&shop(), &ready).await.unwrap();
        let codes: Vec<_> = found.iter().map(|finding| finding.code.as_str()).collect();
        assert_eq!(codes, ["PREPARED_TRANSACTIONS", "NOT_STREAMING"]);
        let changes = source.engine.recipe(&shop(), &Intent::Fence { drain_ms: 0 }).await.unwrap();
        let mut last = Ok(());
        for change in &changes {
            last = one(&source, change).await;
        }
        assert_eq!(last.unwrap_err().code, "PREPARED_TRANSACTIONS");
        undo(&source, &changes).await;
        source.root_session().await.query_drop("xa commit 'a'").await.unwrap();
    });
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn locks_of_others_are_ended_with_their_session_or_the_fence_is_not_taken() {
    as_server_user("fence::locks_of_others_are_ended_with_their_session_or_the_fence_is_not_taken", |base| async move {
        let source = Server::source(&base).await;
        admitted(&source).await;
        let mut app = source.root_session().await;
        app.query_drop("lock tables app.writes write").await.unwrap();
        let changes = apply(&source, &Intent::Fence { drain_ms: 0 }).await;
        end(&source).await;
        undo(&source, &changes).await;

        // A backup tool's: nothing can be written, the locks not either.
        let mut backup = source.root_session().await;
        backup.query_drop("flush tables with read lock").await.unwrap();
        let changes = source.engine.recipe(&shop(), &Intent::Fence { drain_ms: 0 }).await.unwrap();
        let begun = std::time::Instant::now();
        let failure = one(&source, &changes[0]).await.unwrap_err();
        assert_eq!(failure.code, "IN_USE", "{failure:?}");
        assert!(begun.elapsed() < Duration::from_secs(20), "it is bounded");
        backup.query_drop("unlock tables").await.unwrap();
        undo(&source, &changes).await;
        let mut app = source.by_tcp("app", "app").await.unwrap();
        app.query_drop("insert into app.writes values (1, 1)").await.unwrap();
    });
}

/// By the server's own client, without TLS and without asking for the server's public key: what only its cache lets in.
fn in_by_cache_alone(source: &Server) -> bool {
    let option_file = source.root.join("etc/client.cnf");
    std::fs::write(&option_file, "[client]\npassword = app\n").unwrap();
    let run = std::process::Command::new("/opt/flytt-mysql/usr/bin/mysql")
        .arg(format!("--defaults-file={}", option_file.display()))
        .args(["--host=127.0.0.1", "--user=app", "--ssl-mode=DISABLED", "--execute=select 1"])
        .arg(format!("--port={}", source.port))
        .output()
        .unwrap();
    run.status.success()
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn taken_back_it_leaves_clients_without_tls_their_way_in() {
    as_server_user("fence::taken_back_it_leaves_clients_without_tls_their_way_in", |base| async move {
        let source = Server::source(&base).await;
        admitted(&source).await;
        assert!(!in_by_cache_alone(&source), "a new account is not in the cache yet");
        source.by_tcp("app", "app").await.unwrap();
        assert!(in_by_cache_alone(&source));
        let changes = apply(&source, &Intent::Fence { drain_ms: 0 }).await;
        assert!(!in_by_cache_alone(&source));
        undo(&source, &changes).await;
        assert!(in_by_cache_alone(&source), "the fence has emptied the cache");
    });
}
