//! Accounts and roles with their verifiers, privileges and default roles, as statements. What they hold is shown to nobody.

use std::collections::BTreeSet;

use flytt_proto::failure::Failure;

use super::{Ours, Vendor, odd, text};
use crate::engine::mysql_family::{
    dump::schema::{
        Account, AccountName, Context, Statement,
        text::{Kind, Token, phrase, tokens},
    },
    session::Session,
};

/// The server's own; every server has its own of these.
const SYSTEM: [&str; 4] = ["mariadb.sys", "mysql.infoschema", "mysql.session", "mysql.sys"];

pub(super) async fn all(session: &Session, vendor: Vendor, ours: &Ours) -> Result<Vec<Account>, Failure> {
    let role = if vendor == Vendor::Mariadb { "is_role" } else { "'N'" };
    let rows = session.rows(&format!("select User, Host, {role} from mysql.user order by 1, 2")).await?;
    let mut accounts = Vec::new();
    let mut granted = BTreeSet::new();
    for mut row in rows {
        let name = AccountName { user: text(&mut row, 0), host: text(&mut row, 1) };
        let is_role = text(&mut row, 2).eq_ignore_ascii_case("y");
        if (SYSTEM.contains(&name.user.as_str()) && name.host == "localhost") || ours.accounts.contains(&name) {
            continue;
        }
        accounts.push(account(session, vendor, name, is_role, &mut granted).await?);
    }
    Ok(accounts)
}

/// `granted`: what others have been given. MariaDB shows with a role what it has by other roles, too.
async fn account(
    session: &Session,
    vendor: Vendor,
    name: AccountName,
    is_role: bool,
    granted: &mut BTreeSet<String>,
) -> Result<Account, Failure> {
    let quoted = name.quoted();
    let mut account =
        Account { create: statement(format!("create account {name}"), String::new()), grants: Vec::new(), is_role, name };
    let mut default_roles = None;
    if is_role && account.name.is_public() {
        // It is always there.
    } else if is_role {
        account.create.sql = format!("create or replace role {quoted}");
    } else {
        // MariaDB says in further rows what a password that has expired was set to expire by.
        let mut rows = session.rows(&format!("show create user {quoted}")).await?.into_iter();
        let mut next = || rows.next().and_then(|row| row.into_iter().next().flatten());
        let shown = next().unwrap_or_default();
        while let Some(more) = next() {
            if !more.starts_with("ALTER USER ") {
                return Err(odd(&format!("account {}", account.name), "the server does not show how it is made as expected"));
            }
            account.grants.push(statement(format!("alter account {}", account.name), more));
        }
        let unknown = || odd(&format!("account {}", account.name), "the server does not show how it is made as expected");
        let rest = shown.strip_prefix("CREATE USER ").ok_or_else(unknown)?;
        let (create, roles) = without_default_roles(rest).ok_or_else(unknown)?;
        let or_replace = if vendor == Vendor::Mariadb { "or replace " } else { "" };
        account.create.sql = format!("create {or_replace}user {create}");
        default_roles = roles.map(|roles| format!("alter user {quoted} {roles}"));
    }
    let about = format!("grant to account {}", account.name);
    let shown = session.rows(&format!("show grants for {quoted}")).await?;
    for line in shown.into_iter().filter_map(|row| row.into_iter().next().flatten()) {
        let grant = bare(&line).ok_or_else(|| odd(&format!("account {}", account.name), "a privilege is not understood"))?;
        if granted.insert(grant.clone()) {
            account.grants.push(statement(about.clone(), grant));
        }
    }
    account.grants.extend(default_roles.map(|sql| statement(about, sql)));
    Ok(account)
}

fn statement(about: String, sql: String) -> Statement {
    Statement { about, sql, context: Context::default() }
}

/// MySQL says here which roles are active from the beginning; they may not be there yet.
fn without_default_roles(create: &str) -> Option<(String, Option<String>)> {
    let tokens = tokens(create)?;
    let Some(found) = phrase(create, &tokens, &["default", "role"]) else { return Some((create.to_owned(), None)) };
    let end = tokens.iter().find(|token| token.at.start > found.end && token.is(create, "require"))?.at.start;
    Some((format!("{}{}", &create[..found.start], &create[end..]), Some(create[found.start..end].trim().to_owned())))
}

/// A privilege without what MariaDB repeats of the account: its password would count as a new one.
fn bare(grant: &str) -> Option<String> {
    let tokens = tokens(grant)?;
    if !tokens.first()?.is(grant, "grant") {
        let is_whole = ["revoke", "set"].iter().any(|word| tokens[0].is(grant, word));
        return is_whole.then(|| grant.to_owned());
    }
    let to = phrase(grant, &tokens, &["to"])?;
    let mut after = tokens.iter().skip_while(|token| token.at.start < to.end).peekable();
    let is_quoted = |token: &&Token| matches!(token.kind, Kind::Name | Kind::Text);
    let mut end = after.next_if(|token| is_quoted(token) || token.is(grant, "public"))?.at.end;
    if after.next_if(|token| token.is(grant, "@")).is_some() {
        end = after.next_if(is_quoted)?.at.end;
    }
    let rest: Vec<Token> = after.cloned().collect();
    let option = ["grant", "admin"].into_iter().find(|word| phrase(grant, &rest, &[word, "option"]).is_some());
    Some(format!("{}{}", &grant[..end], option.map(|word| format!(" WITH {} OPTION", word.to_uppercase())).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_sets_no_password() {
        for (shown, bare) in [
            (
                "GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*B69' REQUIRE SSL WITH MAX_USER_CONNECTIONS 3",
                "GRANT USAGE ON *.* TO `u`@`%`",
            ),
            (
                "GRANT ALL PRIVILEGES ON *.* TO `r TO`@`%` IDENTIFIED VIA a USING ' OPTION' OR b WITH GRANT OPTION MAX_USER_CONNECTIONS 3",
                "GRANT ALL PRIVILEGES ON *.* TO `r TO`@`%` WITH GRANT OPTION",
            ),
            ("GRANT `r1` TO `r2` WITH ADMIN OPTION", "GRANT `r1` TO `r2` WITH ADMIN OPTION"),
            ("GRANT SELECT (`TO`) ON `d`.* TO PUBLIC", "GRANT SELECT (`TO`) ON `d`.* TO PUBLIC"),
            ("SET DEFAULT ROLE `r2` FOR `u`@`%`", "SET DEFAULT ROLE `r2` FOR `u`@`%`"),
        ] {
            assert_eq!(super::bare(shown).as_deref(), Some(bare));
        }
        assert_eq!(super::bare("GRANT SOMETHING NEW"), None);
        assert_eq!(super::bare("DENY SELECT ON *.* TO `u`@`%`"), None);
    }

    #[test]
    fn default_roles_come_later() {
        let create = "`u`@`%` IDENTIFIED WITH 'x' AS 0x00 DEFAULT ROLE `a`@`%`,`REQUIRE`@`%` REQUIRE NONE ATTRIBUTE '{}'";
        let (first, later) = without_default_roles(create).unwrap();
        assert_eq!(first, "`u`@`%` IDENTIFIED WITH 'x' AS 0x00 REQUIRE NONE ATTRIBUTE '{}'");
        assert_eq!(later.as_deref(), Some("DEFAULT ROLE `a`@`%`,`REQUIRE`@`%`"));
    }
}
