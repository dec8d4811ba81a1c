//! A JSON value of MySQL that its text does not tell from another is refused by a dump, and one that it does tell is copied.

use flytt_agent::change::Change;
use mysql_async::prelude::Queryable as _;

use crate::{
    apply::{one, take_back},
    dump::{load, pair},
    server::value,
    user::as_server_user,
};

#[test]
fn a_json_value_that_is_more_than_its_text_is_refused_by_name() {
    as_server_user("texts::a_json_value_that_is_more_than_its_text_is_refused_by_name", |base| async move {
        let (source, target) = pair(&base).await;
        let mut root = source.root_session().await;
        root.query_drop("create table app.documents (id int primary key, j json)").await.unwrap();
        root.query_drop(
            "insert into app.documents values (1, json_object('price', 12.50, 'n', null, 's', 'é\\\\\"', 'f', 1e-7)), (2, null)",
        )
        .await
        .unwrap();
        root.query_drop("insert into app.documents values (3, json_object('on', cast('2026-11-29' as date)))").await.unwrap();
        let failure = one(&target, &Change::Load(load(0))).await.unwrap_err();
        assert!(failure.code == "ROWS_DIFFER" && failure.sentence.contains("`app`.`documents`"), "{failure:?}");
        take_back(&target, &Change::Load(load(0))).await.unwrap();
        root.query_drop("delete from app.documents where id = 3").await.unwrap();
        one(&target, &Change::Load(load(0))).await.unwrap();
        let same =
            "select group_concat(id, j->'$.price' = 12.5, j->>'$.s', j->'$.f' = 1e-7) from app.documents where j is not null";
        assert_eq!(value(&mut root, same).await, value(&mut target.root_session().await, same).await);
    });
}
