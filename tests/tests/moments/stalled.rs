//! A login that stops in the middle of its authentication and goes on when it is told to. The server keeps such a process
//! under the access rules of before, and lists it nowhere.

use flytt::stage::Stage;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};

pub(crate) struct Stalled {
    go: oneshot::Sender<()>,
    end: JoinHandle<Result<(), String>>,
}

impl Stalled {
    /// Returns when the server waits for the proof of the password; after it the client would write `sql`.
    pub(crate) async fn begin(stage: &Stage, sql: &'static str) -> Self {
        let mut server = TcpStream::connect(("127.0.0.1", stage.source.port())).await.expect("the source listens");
        let (ours, mut client) = tokio::io::duplex(1 << 16);
        let settings: tokio_postgres::Config =
            std::fs::read_to_string(&stage.conninfo).expect("there").trim().parse().expect("a connection string");
        let end = tokio::spawn(async move {
            let said = |error: tokio_postgres::Error| match error.as_db_error() {
                Some(answer) => answer.to_string(),
                None => error.to_string(),
            };
            let (client, connection) = settings.connect_raw(ours, tokio_postgres::NoTls).await.map_err(said)?;
            tokio::spawn(connection);
            client.batch_execute(sql).await.map_err(said)
        });
        // The startup packet passes, and the server's question is taken; the answer to it has to wait.
        let mut packet = vec![0; 1 << 12];
        let length = client.read(&mut packet).await.expect("a startup packet");
        server.write_all(&packet[..length]).await.expect("sent");
        let length = server.read(&mut packet).await.expect("a question");
        assert_eq!(packet[0], b'R', "the server asks for authentication");
        client.write_all(&packet[..length]).await.expect("handed on");
        let (go, wait) = oneshot::channel();
        tokio::spawn(async move {
            let _ = wait.await;
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
        Self { go, end }
    }

    /// The client goes on as if nothing had happened.
    pub(crate) async fn go_on(self) -> Result<(), String> {
        let _ = self.go.send(());
        tokio::time::timeout(std::time::Duration::from_secs(20), self.end).await.expect("an end").expect("no panic")
    }
}
