//! What `show stat` and `show info` tell beside the servers: the frontend's limit, the backend's algorithm, backup servers.

use flytt_proto::failure::Failure;

use super::socket::Socket;

/// `show stat` as rows that answer by column name. No value of the columns asked for contains a comma.
#[derive(Debug)]
pub(super) struct Statistics {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Statistics {
    pub(super) async fn read(socket: &Socket) -> Result<Self, Failure> {
        let answer = socket.ask("show stat").await?;
        Self::parse(&answer).ok_or_else(|| {
            Failure::refused(
                "ROUTER_ANSWER_UNREADABLE",
                "HAProxy's statistics cannot be read",
                "let the socket answer `show stat`",
            )
        })
    }

    fn parse(answer: &str) -> Option<Self> {
        let cells = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
        let columns = cells(answer.lines().find_map(|line| line.strip_prefix("# "))?);
        let rows = answer.lines().filter(|line| line.contains(',') && !line.starts_with('#')).map(cells).collect();
        Some(Self { columns, rows })
    }

    /// `of`: a server's name, `FRONTEND` or `BACKEND`. `None` = there is no such row or column.
    pub(super) fn value(&self, proxy: &str, of: &str, column: &str) -> Option<&str> {
        let at = |name: &str| self.columns.iter().position(|c| c == name);
        let (px, sv, wanted) = (at("pxname")?, at("svname")?, at(column)?);
        let is = |row: &&Vec<String>| row.get(px).is_some_and(|v| v == proxy) && row.get(sv).is_some_and(|v| v == of);
        self.rows.iter().find(is)?.get(wanted).map(String::as_str)
    }
}

/// `None` = there is no frontend of this name. HAProxy shows 0 only after `set maxconn frontend … 0`.
pub(super) async fn frontend_limit(socket: &Socket, frontend: &str) -> Result<Option<u64>, Failure> {
    Ok(Statistics::read(socket).await?.value(frontend, "FRONTEND", "slim").and_then(|limit| limit.parse().ok()))
}

pub(super) async fn process_limit(socket: &Socket) -> Result<u64, Failure> {
    let answer = socket.ask("show info").await?;
    info(&answer, "Maxconn").and_then(|limit| limit.parse().ok()).ok_or_else(|| {
        Failure::refused(
            "ROUTER_ANSWER_UNREADABLE",
            "HAProxy does not tell its limit of connections",
            "let the socket answer `show info`",
        )
    })
}

/// A line `<key>: <value>` of `show info`.
pub(super) fn info<'a>(answer: &'a str, key: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_name() {
        let text = "# pxname,svname,slim,algo,\nfe,FRONTEND,100,,\npg,old,,,\npg,BACKEND,200,leastconn,\n";
        let statistics = Statistics::parse(text).expect("statistics");
        assert_eq!(statistics.value("fe", "FRONTEND", "slim"), Some("100"));
        assert_eq!(statistics.value("pg", "BACKEND", "algo"), Some("leastconn"));
        assert_eq!(statistics.value("pg", "FRONTEND", "slim"), None);
        assert_eq!(statistics.value("pg", "BACKEND", "no such"), None);
        assert!(Statistics::parse("Unknown command\n").is_none());
        assert_eq!(info("Name: HAProxy\nMaxconn: 9982\n", "Maxconn"), Some("9982"));
    }
}
