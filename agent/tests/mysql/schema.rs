//! Everything but rows goes from one MySQL server to another and is there the same.

use flytt_agent::engine::mysql_family::{
    dump::schema::{AccountName, Ours, Schema, Vendor, after, before, give, obstacles, read},
    session::{Login, Session},
};
use mysql_async::{Conn, Row, prelude::Queryable as _};

use crate::{
    peculiar::{self, HISTOGRAMS, ROWS},
    server::{Server, user},
    user::as_server_user,
};

async fn session(server: &Server) -> Session {
    let login = Login { socket: &server.socket(), account: &user(), password: None, setup: &["set session sql_mode = ''"] };
    login.open().await.unwrap()
}

async fn schema(server: &Server) -> Schema {
    read(&session(server).await, &Ours::default()).await.unwrap()
}

/// The server's own words for each object, asked without our reader.
pub(crate) async fn shown(root: &mut Conn) -> Vec<String> {
    let mut all = Vec::new();
    root.query_drop("use information_schema").await.unwrap();
    root.query_drop("set session print_identified_with_as_hex = 1, sql_mode = ''").await.unwrap();
    for (kind, names) in [
        ("database", "SCHEMA_NAME, '' from information_schema.SCHEMATA"),
        ("table", "TABLE_SCHEMA, TABLE_NAME from information_schema.TABLES"),
        ("function", "ROUTINE_SCHEMA, ROUTINE_NAME from information_schema.ROUTINES where ROUTINE_TYPE = 'FUNCTION'"),
        ("procedure", "ROUTINE_SCHEMA, ROUTINE_NAME from information_schema.ROUTINES where ROUTINE_TYPE = 'PROCEDURE'"),
        ("trigger", "TRIGGER_SCHEMA, TRIGGER_NAME from information_schema.TRIGGERS"),
        ("event", "EVENT_SCHEMA, EVENT_NAME from information_schema.EVENTS"),
        ("user", "User, Host from mysql.user"),
    ] {
        let names: Vec<(String, String)> = root.query(format!("select {names} order by 1, 2")).await.unwrap();
        let system = ["mysql", "sys", "information_schema", "performance_schema"];
        let names = names.into_iter().filter(|(first, _)| !system.contains(&first.as_str()) && !first.starts_with("mysql."));
        let names: Vec<_> = names.collect();
        assert!(!names.is_empty(), "no {kind} to compare");
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        for (first, second) in names {
            let name = match kind {
                "database" => quoted(&first),
                "user" => format!("{}@{}", quoted(&first), quoted(&second)),
                _ => format!("{}.{}", quoted(&first), quoted(&second)),
            };
            let sql = format!("show create {kind} {name}");
            let row = root.query_first::<Row, _>(sql.as_str()).await;
            let row = row.unwrap_or_else(|error| panic!("{sql}: {error}")).unwrap();
            // Not the moment at which a trigger was made.
            let columns = row.columns_ref().iter().map(|column| column.name_str().into_owned()).collect::<Vec<_>>();
            let values = row.unwrap().into_iter().zip(columns).filter(|(_, column)| column != "Created");
            all.push(format!("{kind} {name} {:?}", values.map(|(value, _)| value.as_sql(true)).collect::<Vec<_>>()));
        }
    }
    for table in
        ["role_edges", "default_roles", "global_grants", "db", "tables_priv", "columns_priv", "procs_priv", "proxies_priv"]
    {
        let rows: Vec<Row> = root.query(format!("select * from mysql.{table} order by 1, 2, 3, 4")).await.unwrap();
        for row in rows {
            let columns = row.columns_ref().iter().map(|column| column.name_str().into_owned()).collect::<Vec<_>>();
            let values = row.unwrap().into_iter().zip(columns).filter(|(_, column)| column != "Timestamp");
            all.push(format!("{table} {:?}", values.map(|(value, _)| value.as_sql(true)).collect::<Vec<_>>()));
        }
    }
    all
}

/// Neither how far a counter has come nor whether an event sleeps is the object's form.
pub(crate) fn plain(shown: &str) -> String {
    let counter = shown.find(" AUTO_INCREMENT=").map(|at| {
        let digits = shown[at + 16..].bytes().take_while(u8::is_ascii_digit).count();
        format!("{}{}", &shown[..at], &shown[at + 16 + digits..])
    });
    // MySQL shows the character set beside its collation once a statement named either.
    counter
        .unwrap_or_else(|| shown.to_owned())
        .replace(" CHARACTER SET latin1 COLLATE", " COLLATE")
        .replace("PRESERVE DISABLE ON SLAVE", "PRESERVE ENABLE")
        .replace("PRESERVE DISABLE ON REPLICA", "PRESERVE ENABLE")
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn a_schema_with_everything_in_it_is_the_same_on_the_other_side() {
    as_server_user("schema::a_schema_with_everything_in_it_is_the_same_on_the_other_side", |base| async move {
        let source = Server::empty(&base, "source", 1).await;
        let target = Server::empty(&base, "target", 2).await;
        let mut there = source.by_socket(&user(), None).await.unwrap();
        peculiar::run(&mut there, &peculiar::schema()).await;
        peculiar::run(&mut there, ROWS).await;
        peculiar::run(&mut there, HISTOGRAMS).await;
        let wanted = schema(&source).await;
        let whole: Vec<_> = wanted
            .tables
            .iter()
            .filter(|table| table.database == "k" && table.create.contains("\n  KEY ") && table.engine == "InnoDB")
            .collect();
        assert!(whole.is_empty(), "not taken apart: {whole:?}");

        let writer = session(&target).await;
        let mut here = target.by_socket(&user(), None).await.unwrap();
        peculiar::run(&mut here, &["set global partial_revokes = 1"]).await;
        let keep = [AccountName { user: "root".into(), host: "localhost".into() }];
        obstacles(&writer, &wanted, &keep).await.unwrap();
        give(&writer, Vendor::Mysql, &before(&wanted, &Schema::default())).await.unwrap();
        peculiar::run(&mut here, ROWS).await;
        let after = after(&wanted, &schema(&target).await, &keep);
        for (_, indexes) in &after.indexes {
            give(&writer, Vendor::Mysql, indexes).await.unwrap();
        }
        for part in [&after.foreign_keys, &after.objects] {
            give(&writer, Vendor::Mysql, part).await.unwrap();
        }
        assert_eq!(wanted.differences(&schema(&target).await, &[]), [""; 0]);
        let (there, here) = (shown(&mut there).await, shown(&mut here).await);
        for (there, here) in there.iter().zip(&here) {
            assert_eq!(plain(there), plain(here));
        }
        assert_eq!(there.len(), here.len());
    });
}
