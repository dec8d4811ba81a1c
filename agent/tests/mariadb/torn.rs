//! A dump's stream that is changed or cut on its way, at each of its frames: through the whole path into the server nothing of such
//! a piece counts, and it is there once when it has been pulled again.

use std::sync::{Arc, Mutex};

use flytt_agent::{
    change::Change,
    command::Command,
    engine::{self, Blocks, Origin},
    link::pipe,
};
use flytt_proto::{
    failure::Failure,
    v1::{DrawRequest, Frame, draw_request::Producer, frame::Kind, link_client::LinkClient},
};
use mysql_async::{Conn, Opts, prelude::Queryable as _};
use tonic::{Status, transport::Channel};

use crate::{
    apply::one,
    dump::{load, pair},
    everything,
    server::{Server, value},
    tunnel,
    user::as_server_user,
};

/// What befalls a stream, at its nth frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Flipped(usize),
    Cut(usize),
}

/// Pipes in which one fault after the other befalls the one large piece, and then none any more.
#[derive(Debug)]
struct Faulty {
    agent: Channel,
    target: Opts,
    /// Those that have befallen, and how many rows were there when the piece was pulled once more.
    seen: Arc<Mutex<(Vec<Fault>, Vec<u64>)>>,
}

fn faults(frames: &[Frame]) -> Vec<Fault> {
    let data = frames.iter().take_while(|frame| matches!(frame.kind, Some(Kind::Data(_)))).count();
    (0..data).map(Fault::Flipped).chain((0..frames.len()).map(Fault::Cut)).collect()
}

#[tonic::async_trait]
impl engine::Pipes for Faulty {
    async fn draw(&self, _: &Origin, _: Producer, _: u64, _: &Command, _: &(dyn Fn(u64) + Send + Sync)) -> Result<u64, Failure> {
        panic!("no part of a dump")
    }

    async fn pull(&self, _: &Origin, ask: DrawRequest) -> Result<Blocks, Failure> {
        let is_rows = ask.producer() == Producer::Rows;
        let mut stream = LinkClient::new(self.agent.clone()).draw(ask).await?.into_inner();
        if !is_rows {
            return Ok(pipe::blocks(stream));
        }
        let mut frames = Vec::new();
        while let Some(frame) = stream.message().await? {
            frames.push(frame);
        }
        let all = faults(&frames);
        // The small pieces are one block each.
        if all.len() > 6 {
            let mut conn = Conn::new(self.target.clone()).await.unwrap();
            let rows: Option<u64> = conn.query_first("select count(*) from app.whole").await.unwrap();
            let mut seen = self.seen.lock().unwrap();
            seen.1.push(rows.unwrap());
            if let Some(fault) = all.get(seen.0.len()) {
                seen.0.push(*fault);
                match *fault {
                    Fault::Cut(at) => frames.truncate(at),
                    Fault::Flipped(at) => {
                        let Some(Kind::Data(data)) = &mut frames[at].kind else { panic!("no data") };
                        let mut bytes = data.to_vec();
                        let middle = bytes.len() / 2;
                        bytes[middle] ^= 1;
                        *data = bytes.into();
                    }
                }
            }
        }
        Ok(pipe::blocks(tokio_stream::iter(frames.into_iter().map(Ok::<_, Status>))))
    }
}

#[test]
fn no_part_of_a_stream_that_was_changed_or_cut_at_any_frame_is_taken_for_whole() {
    as_server_user("torn::no_part_of_a_stream_that_was_changed_or_cut_at_any_frame_is_taken_for_whole", |base| async move {
        let (source, target) = pair(&base).await;
        let mut root = source.root_session().await;
        for sql in everything::WHOLE {
            root.query_drop(*sql).await.unwrap();
        }
        // Three blocks.
        root.query_drop("delete from app.whole limit 90000").await.unwrap();
        let seen = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        let opts = target.root_session().await.opts().clone();
        let pipes = Faulty { agent: tunnel::channel(&base), target: opts, seen: seen.clone() };
        let target: Server = target.through(Arc::new(pipes));
        one(&target, &Change::Load(load(0))).await.unwrap();
        let (faults, rows) = seen.lock().unwrap().clone();
        assert!(faults.len() >= 9 && faults.contains(&Fault::Flipped(3)) && faults.contains(&Fault::Cut(4)), "{faults:?}");
        assert_eq!(rows, vec![0; faults.len() + 1], "what there was of it each time: {faults:?}");
        let digest = "select concat_ws(' ', count(*), sum(crc32(t))) from app.whole";
        assert_eq!(value(&mut root, digest).await, value(&mut target.root_session().await, digest).await);
    });
}
