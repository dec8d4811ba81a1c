//! Settings of a MySQL or MariaDB server that are held while an import runs, as data. Which help, and how they are set and set
//! back, is the engine's; that nobody forgets them is `import`'s, in the agent.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What may be set for an import, with what was there before: on record before the first of them is touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// A database of ours for the trial; there only while that runs.
    pub scratch: String,
    /// In the order in which they are tried; set back in the other.
    pub settings: Vec<Setting>,
    /// Milliseconds without a sign of life of the load after which they are set back all the same.
    pub lease_ms: u64,
}

/// One global setting, as the server writes its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    pub name: String,
    pub want: String,
    pub had: String,
    /// Where `had` came from, by the server's own word: `compiled default`, `option file /etc/my.cnf`, `command line`, `by SET`.
    pub origin: String,
    pub when: When,
}

/// When a setting is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// A trial on this host shows that it makes an import faster.
    Faster,
    /// The import does not work without it.
    Needed,
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.settings.iter().map(|setting| setting.name.as_str()).collect();
        write!(f, "try, and set for the import, of {}", names.join(", "))
    }
}
