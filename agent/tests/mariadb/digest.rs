//! MariaDB's digests see every planted fault, and nothing else.

#[path = "../digest/plants.rs"]
mod plants;

use flytt_agent::engine::mysql_family::dump::schema::Vendor;

use crate::{
    server::{Server, user},
    user::as_server_user,
};

const KEYS: &[(&str, &str)] = &[
    ("uuid", "concat(lpad(hex(n * 7919 % 65536), 8, '0'), '-0000-1000-8000-00000000000', n % 10)"),
    ("inet6", "concat('2001:db8::', hex(n))"),
    ("inet4", "concat('10.0.0.', n)"),
];

const MORE: &[&str] = &[
    "set session timestamp = 1700000000",
    "create table history (id int primary key, t text) with system versioning",
    "insert into history values (1, 'was')",
    "set session timestamp = 1700000001",
    "update history set t = 'is'",
    "set session timestamp = default",
    "create sequence counter",
    "select nextval(counter)",
];

#[test]
fn each_fault_is_seen_and_nothing_else() {
    as_server_user("digest::each_fault_is_seen_and_nothing_else", |base| async move {
        let server = Server::empty(&base, "source", 1).await;
        plants::all(Vendor::Mariadb, &server.socket(), &user(), KEYS, MORE).await;
    });
}
