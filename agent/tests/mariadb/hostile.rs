//! A server that is not what it says: it asks the agent for a local file, and gets nothing of it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use flytt_agent::engine::Engine as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

use crate::{
    dump::{fill_pieces, load},
    server::Server,
    tunnel,
    user::as_server_user,
};

fn packet(sequence: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&[length[0], length[1], length[2], sequence], body].concat()
}

/// Handshake V10 with the capabilities of a usual server, LOCAL_FILES among them.
fn greeting() -> Vec<u8> {
    let capabilities: u32 = 0x0000_0200 | 0x0000_8000 | 0x0008_0000 | 0x0000_0080 | 0x0000_0001;
    let mut body = b"\x0a5.5.5-10.11.19-MariaDB\0".to_vec();
    body.extend(1_u32.to_le_bytes());
    body.extend(b"aaaaaaaa\0");
    body.extend(&capabilities.to_le_bytes()[..2]);
    body.extend([33, 2, 0]);
    body.extend(&capabilities.to_le_bytes()[2..]);
    body.push(21);
    body.extend([0; 10]);
    body.extend(b"aaaaaaaaaaaa\0mysql_native_password\0");
    packet(0, &body)
}

async fn read(socket: &mut UnixStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 4];
    socket.read_exact(&mut header).await.ok()?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
    let mut body = vec![0; usize::try_from(length).unwrap()];
    socket.read_exact(&mut body).await.ok()?;
    Some((header[3], body))
}

#[test]
fn a_server_that_asks_for_a_file_gets_none() {
    as_server_user("hostile::a_server_that_asks_for_a_file_gets_none", |base| async move {
        let server = Server::prepare(&base, "source", 1);
        let secret = base.join("secret");
        std::fs::write(&secret, "nobody else may read this").unwrap();
        let listener = UnixListener::bind(server.socket()).unwrap();
        let heard = tokio::spawn(async move {
            let mut asked = 0;
            let mut heard = Vec::new();
            // The driver's own first questions are what it answers, too.
            let mut socket = listener.accept().await.unwrap().0;
            socket.write_all(&greeting()).await.unwrap();
            let (sequence, _) = read(&mut socket).await.unwrap();
            socket.write_all(&packet(sequence + 1, &[0, 0, 0, 2, 0, 0, 0])).await.unwrap();
            if read(&mut socket).await.is_some_and(|(_, command)| command.first() == Some(&3)) {
                asked += 1;
                let ask = [b"\xfb", secret.to_str().unwrap().as_bytes()].concat();
                socket.write_all(&packet(1, &ask)).await.unwrap();
                while let Ok(Some((_, sent))) = tokio::time::timeout(Duration::from_secs(2), read(&mut socket)).await {
                    heard.extend(sent);
                }
            }
            (asked, String::from_utf8_lossy(&heard).into_owned())
        });
        let failure = server.engine.position().await.unwrap_err();
        let (asked, heard) = tokio::time::timeout(Duration::from_secs(20), heard).await.unwrap().unwrap();
        assert!(asked > 0, "it was never in a position to ask: {failure:?}");
        assert!(!heard.contains("nobody else"), "the file was sent");
    });
}

const SECRET: &str = "/etc/passwd";

/// Between the agent and a real server: where a statement begins with `at`, its answer is that the server wants `SECRET`.
async fn betray(
    mut near: UnixStream,
    real: &Path,
    at: &[u8],
    heard: &std::sync::Mutex<Vec<u8>>,
    asked: &AtomicUsize,
) -> Option<()> {
    let mut far = UnixStream::connect(real).await.unwrap();
    let mut buffer = vec![0; 1 << 16];
    loop {
        tokio::select! {
            said = read(&mut near) => {
                let (sequence, body) = said?;
                if sequence == 0 && body.first() == Some(&3) && body[1..].starts_with(at) {
                    asked.fetch_add(1, Ordering::SeqCst);
                    near.write_all(&packet(1, &[b"\xfb", SECRET.as_bytes()].concat())).await.ok()?;
                    while let Ok(Some((_, sent))) = tokio::time::timeout(Duration::from_secs(1), read(&mut near)).await {
                        heard.lock().unwrap().extend(sent);
                    }
                    return None;
                }
                far.write_all(&packet(sequence, &body)).await.ok()?;
            }
            count = far.read(&mut buffer) => {
                let count = count.ok().filter(|count| *count > 0)?;
                near.write_all(&buffer[..count]).await.ok()?;
            }
        }
    }
}

#[test]
fn a_target_server_that_asks_for_a_file_in_the_session_that_loads_gets_rows_or_nothing() {
    as_server_user(
        "hostile::a_target_server_that_asks_for_a_file_in_the_session_that_loads_gets_rows_or_nothing",
        |base| async move {
            let source = Server::source(&base).await;
            fill_pieces(&source).await;
            tunnel::agent(&base, &source);
            let target = Server::target(&base).await;
            let real = base.join("real");
            std::fs::rename(target.socket(), &real).unwrap();
            let passwd = std::fs::read(SECRET).unwrap();
            let line = passwd.split(|byte| *byte == b'\n').next().unwrap();
            // Before the handler of the piece is there, in its place, and when it is used up.
            for (at, rows) in [("start transaction", false), ("load data local", true), ("update `flytt_shop_copy`", false)] {
                let (heard, asked) = (Arc::new(std::sync::Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
                let listener = UnixListener::bind(target.socket()).unwrap();
                let server = {
                    let (heard, asked, real) = (heard.clone(), asked.clone(), real.clone());
                    tokio::spawn(async move {
                        let mut sessions = tokio::task::JoinSet::new();
                        while let Ok((near, _)) = listener.accept().await {
                            let (heard, asked, real) = (heard.clone(), asked.clone(), real.clone());
                            sessions.spawn(async move { betray(near, &real, at.as_bytes(), &heard, &asked).await });
                        }
                    })
                };
                let all = load(0);
                let work = target.engine.load(&all, tokio::sync::mpsc::channel(1).0);
                let failure = tokio::time::timeout(Duration::from_secs(30), work).await.unwrap().unwrap_err();
                server.abort();
                std::fs::remove_file(target.socket()).unwrap();
                let heard = heard.lock().unwrap().clone();
                assert!(asked.load(Ordering::SeqCst) > 0, "{at}: it was never in a position to ask: {failure:?}");
                assert!(!heard.windows(line.len()).any(|part| part == line), "{at}: the file was sent");
                assert_eq!(heard.len() > 1000, rows, "{at}: {} bytes were sent", heard.len());
            }
        },
    );
}
