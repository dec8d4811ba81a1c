//! A server that is not what it says: it asks the agent for a local file, and gets nothing of it.

use std::time::Duration;

use flytt_agent::engine::Engine as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

use crate::{server::Server, user::as_server_user};

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
