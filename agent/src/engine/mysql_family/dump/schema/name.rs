//! Names of accounts.

use std::fmt;

use super::AccountName;
use crate::engine::mysql_family::quote::{account, identifier};

impl AccountName {
    /// As SQL.
    pub(super) fn quoted(&self) -> String {
        match self {
            public if public.is_public() => "public".into(),
            AccountName { user, host } if host.is_empty() => identifier(user),
            AccountName { user, host } => account(user, host),
        }
    }

    /// MariaDB's role that everybody has; a name in quotes would be another's.
    pub(super) fn is_public(&self) -> bool {
        self.host.is_empty() && self.user.eq_ignore_ascii_case("public")
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AccountName { user, host } = self;
        if host.is_empty() { f.write_str(user) } else { write!(f, "{user}@{host}") }
    }
}
