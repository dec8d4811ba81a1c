//! Everything but rows goes from one server to another and is there the same.

use flytt_agent::engine::mysql_family::{
    dump::schema::{AccountName, Ours, Schema, Vendor, after, before, give, obstacles, read},
    session::{Login, Session},
};
use mysql_async::prelude::Queryable as _;

use crate::{
    everything::digests,
    peculiar::{self, ROWS},
    server::{Server, user, value},
    user::as_server_user,
};

async fn session(server: &Server) -> Session {
    let login = Login { socket: &server.socket(), account: &user(), password: None, setup: &["set session sql_mode = ''"] };
    login.open().await.unwrap()
}

async fn schema(server: &Server) -> Schema {
    read(&session(server).await, &Ours::default()).await.unwrap()
}

fn keep() -> [AccountName; 2] {
    [user(), "root".into()].map(|user| AccountName { user, host: "localhost".into() })
}

/// What stands before the rows, the rows, what stands after them.
async fn write(target: &Server, wanted: &Schema) {
    let session = session(target).await;
    let have = schema(target).await;
    give(&session, Vendor::Mariadb, &before(wanted, &have)).await.unwrap();
    peculiar::run(&mut target.root_session().await, ROWS).await;
    rest(target, wanted).await;
}

async fn rest(target: &Server, wanted: &Schema) {
    let session = session(target).await;
    let after = after(wanted, &schema(target).await, &keep());
    for (_, indexes) in &after.indexes {
        give(&session, Vendor::Mariadb, indexes).await.unwrap();
    }
    for part in [&after.foreign_keys, &after.objects] {
        give(&session, Vendor::Mariadb, part).await.unwrap();
    }
}

#[test]
fn a_schema_with_everything_in_it_is_the_same_on_the_other_side() {
    as_server_user("schema::a_schema_with_everything_in_it_is_the_same_on_the_other_side", |base| async move {
        let source = Server::empty(&base, "source", 1).await;
        let target = Server::empty(&base, "target", 2).await;
        let mut there = source.root_session().await;
        peculiar::create(&mut there).await;
        peculiar::run(&mut there, ROWS).await;
        let wanted = schema(&source).await;
        let taken = serde_json::from_str::<Schema>(&serde_json::to_string(&wanted).unwrap()).unwrap();
        assert_eq!(taken, wanted, "it travels as it is");
        assert_eq!(wanted.tables.iter().filter(|table| !table.indexes.is_empty()).count(), 11, "indexes come later");

        write(&target, &taken).await;
        let have = schema(&target).await;
        assert_eq!(wanted.differences(&have, &keep()), [""; 0]);
        let mut here = target.root_session().await;
        let (there, here) = (digests(&mut there).await, digests(&mut here).await);
        for (there, here) in there.iter().zip(&here) {
            assert_eq!(there, here);
        }
        assert_eq!(there.len(), here.len());
    });
}
