//! A file that a killed server has forgotten: it does not keep a scratch database from going; a file of nobody knows whom does.

use std::fs;

use flytt_agent::change::Change;
use mysql_async::prelude::Queryable as _;

use crate::{apply::take_back, server::Server, user::as_server_user};

#[test]
fn what_a_killed_server_has_forgotten_goes_and_what_is_nobodys_stays() {
    as_server_user("orphans::what_a_killed_server_has_forgotten_goes_and_what_is_nobodys_stays", |base| async move {
        let server = Server::source(&base).await;
        let mut root = server.root_session().await;
        let import = server.engine.import(&crate::apply::shop()).await.unwrap();
        let scratch = import.scratch.clone();
        let change = Change::ImportSettings(import);
        let directory = server.data().join(scratch.replace('$', "@0024"));

        root.query_drop(format!("create database `{scratch}`")).await.unwrap();
        fs::write(directory.join("t.ibd"), "a table that was").unwrap();
        root.query_drop(format!("create table `{scratch}`.other (id int) engine = InnoDB")).await.unwrap();
        assert_eq!(take_back(&server, &change).await.unwrap(), None);
        assert!(!directory.exists());

        root.query_drop(format!("create database `{scratch}`")).await.unwrap();
        fs::write(directory.join("t.ibd"), "a table that was").unwrap();
        fs::write(directory.join("notes"), "somebody's").unwrap();
        let refused = take_back(&server, &change).await.unwrap_err();
        assert!(refused.remedy.contains(&directory.display().to_string()), "{refused:?}");
        assert!(directory.join("notes").exists());
    });
}
