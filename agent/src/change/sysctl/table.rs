//! The allow-list: every kernel setting that this agent can write, with its form and its range. Compiled in: a controller
//! can only choose among these, and a file in /proc/sys is only ever found by its row here, never by a name from elsewhere.

use flytt_proto::failure::Failure;

/// The kernel keeps buffer sizes in an `int` (tcp(7)).
const INT_MAX: u64 = i32::MAX as u64;

/// One setting.
#[derive(Debug)]
pub(crate) struct Row {
    /// As `sysctl` writes it.
    pub(crate) name: &'static str,
    form: Form,
    /// The other name of the same limit: writing one zeroes the other (kernel: Documentation/admin-guide/sysctl/vm.rst).
    pub(super) twin: Option<&'static str>,
}

/// What a value looks like, and what of it we would write.
#[derive(Debug)]
enum Form {
    /// So many whole numbers, none below the one before it, each from … to ….
    Numbers(&'static [(u64, u64)]),
    Words(&'static [&'static str]),
}

const fn numbers(name: &'static str, ranges: &'static [(u64, u64)]) -> Row {
    Row { name, form: Form::Numbers(ranges), twin: None }
}

const fn twin(name: &'static str, twin: &'static str, ranges: &'static [(u64, u64)]) -> Row {
    Row { name, form: Form::Numbers(ranges), twin: Some(twin) }
}

const SOCKET: &[(u64, u64)] = &[(212_992, INT_MAX)];
const TCP: &[(u64, u64)] = &[(4_096, INT_MAX), (16_384, INT_MAX), (65_536, INT_MAX)];
const DIRTY_BYTES: &[(u64, u64)] = &[(16 << 20, 8 << 30)];

#[rustfmt::skip]
pub(crate) const TABLE: &[Row] = &[
    numbers("net.core.rmem_max", SOCKET),
    numbers("net.core.wmem_max", SOCKET),
    numbers("net.core.somaxconn", &[(4_096, 65_535)]),
    numbers("net.ipv4.tcp_rmem", TCP),
    numbers("net.ipv4.tcp_wmem", TCP),
    numbers("net.ipv4.tcp_max_syn_backlog", &[(4_096, 65_535)]),
    numbers("net.ipv4.tcp_moderate_rcvbuf", &[(1, 1)]),
    numbers("net.ipv4.tcp_slow_start_after_idle", &[(0, 0)]),
    numbers("net.ipv4.tcp_window_scaling", &[(1, 1)]),
    Row { name: "net.ipv4.tcp_congestion_control", form: Form::Words(&["bbr"]), twin: None },
    numbers("vm.swappiness", &[(0, 1)]),
    twin("vm.dirty_background_ratio", "vm.dirty_background_bytes", &[(1, 5)]),
    twin("vm.dirty_background_bytes", "vm.dirty_background_ratio", DIRTY_BYTES),
    twin("vm.dirty_ratio", "vm.dirty_bytes", &[(1, 10)]),
    twin("vm.dirty_bytes", "vm.dirty_ratio", DIRTY_BYTES),
];

/// The row of that name.
///
/// # Errors
/// `SYSCTL_NOT_ALLOWED`: whatever is not in the table, in whatever spelling, is not written.
pub(crate) fn find(name: &str) -> Result<&'static Row, Failure> {
    TABLE.iter().find(|row| row.name == name).ok_or_else(|| {
        Failure::refused(
            "SYSCTL_NOT_ALLOWED",
            format!("{name:?} is not a kernel setting that this agent may write"),
            "set it by hand with `sysctl -w`, if it must be",
        )
    })
}

impl Row {
    /// Below `/proc/sys`.
    pub(super) fn path(&self) -> String {
        self.name.replace('.', "/")
    }

    /// Whether this is a value that we would set.
    ///
    /// # Errors
    /// `SYSCTL_VALUE`.
    pub(crate) fn allows(&self, value: &str) -> Result<(), Failure> {
        let fits = match &self.form {
            Form::Numbers(ranges) => self.numbers(value).is_some_and(|numbers| {
                numbers.iter().zip(*ranges).all(|(number, (least, most))| (least..=most).contains(&number)) && numbers.is_sorted()
            }),
            Form::Words(words) => words.contains(&value),
        };
        if fits { Ok(()) } else { Err(self.refused(value)) }
    }

    /// Whether the kernel could have said this: what it had before may be outside of what we would set.
    ///
    /// # Errors
    /// `SYSCTL_VALUE`.
    pub(super) fn could_be(&self, value: &str) -> Result<(), Failure> {
        let is_word = |text: &str| {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
            (1..16).contains(&text.len()) && text.bytes().all(plain)
        };
        let could = match &self.form {
            Form::Numbers(_) => self.numbers(value).is_some(),
            Form::Words(_) => is_word(value),
        };
        if could { Ok(()) } else { Err(self.refused(value)) }
    }

    /// As many numbers as the setting has, in their one spelling: `4096 87380 16777216`.
    pub(crate) fn numbers(&self, value: &str) -> Option<Vec<u64>> {
        let Form::Numbers(ranges) = &self.form else { return None };
        let numbers: Vec<u64> = value.split(' ').map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let spelled = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        (numbers.len() == ranges.len() && spelled == value).then_some(numbers)
    }

    fn refused(&self, value: &str) -> Failure {
        Failure::refused(
            "SYSCTL_VALUE",
            format!("{value:?} is outside of what this agent sets {} to", self.name),
            "set it by hand with `sysctl -w`, if it must be",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_table_is_refused_in_any_spelling() {
        for name in [
            "kernel.core_pattern",
            "kernel.modprobe",
            "vm.overcommit_memory",
            "vm/swappiness",
            "vm.swappiness ",
            "vm.swappiness\n",
            "VM.SWAPPINESS",
            "vm..swappiness",
            "../proc/sys/vm/swappiness",
            "vm.swappiness/../../kernel/core_pattern",
            "/proc/sys/vm/swappiness",
            "net.ipv4.tcp_rmem\0",
            "",
        ] {
            assert_eq!(find(name).expect_err(name).code, "SYSCTL_NOT_ALLOWED");
        }
    }

    #[test]
    fn values_outside_their_range_or_form_are_refused() {
        for (name, values) in [
            ("vm.swappiness", &["2", "60", "-1", "", "01", "+1", "1\n", "1\nkernel.core_pattern=|/x", " 1", "1 1"] as &[&str]),
            ("vm.dirty_ratio", &["0", "11", "100", "5.0"]),
            ("vm.dirty_background_ratio", &["0", "6"]),
            ("vm.dirty_bytes", &["0", "4096", "1099511627776"]),
            ("net.core.rmem_max", &["4096", "2147483648", "18446744073709551616"]),
            (
                "net.ipv4.tcp_rmem",
                &["16777216", "4096 87380", "4096\t87380\t16777216", "8192 87380 65536", "4096 16777216 87380"],
            ),
            ("net.ipv4.tcp_congestion_control", &["cubic", "bbr ", "", "../bbr"]),
            ("net.ipv4.tcp_window_scaling", &["0", "2"]),
        ] {
            for value in values {
                let error = find(name).expect("in the table").allows(value).expect_err(value);
                assert_eq!(error.code, "SYSCTL_VALUE", "{name} = {value:?}");
            }
        }
    }

    #[test]
    fn the_rows_of_a_pair_name_each_other() {
        for row in TABLE {
            assert!(TABLE.iter().filter(|other| other.name == row.name).count() == 1, "{}", row.name);
            if let Some(twin) = row.twin {
                assert_eq!(find(twin).expect("in the table").twin, Some(row.name));
            }
        }
    }
}
