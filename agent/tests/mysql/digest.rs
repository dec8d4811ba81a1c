//! MySQL's digests see every planted fault, and nothing else.

#[path = "../digest/plants.rs"]
mod plants;

use flytt_agent::engine::mysql_family::dump::schema::Vendor;

use crate::{
    server::{Server, user},
    user::as_server_user,
};

const MORE: &[&str] = &[
    "set session sql_generate_invisible_primary_key = 1",
    "create table invisible (v int)",
    "insert into invisible values (1), (1), (null)",
    "set session sql_generate_invisible_primary_key = 0",
    "create table expressed (id int not null, unique key ((id + 1)))",
    "insert into expressed values (1)",
];

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn each_fault_is_seen_and_nothing_else() {
    as_server_user("digest::each_fault_is_seen_and_nothing_else", |base| async move {
        let server = Server::empty(&base, "source", 1).await;
        plants::all(Vendor::Mysql, &server.socket(), &user(), &[], MORE).await;
    });
}
