//! What could make an import faster on this server, and the value that each would get. Whether it does, the trial says.

use std::collections::BTreeMap;

use super::{
    Order, Vendor,
    memory::Memory,
    variables::{REDO_LOG, Reading},
};
use crate::change::{Setting, When};

const FLUSH_LOG: &str = "innodb_flush_log_at_trx_commit";
const SYNC_BINLOG: &str = "sync_binlog";
const DOUBLEWRITE: &str = "innodb_doublewrite";
const IO_CAPACITY: &str = "innodb_io_capacity";
const IO_CAPACITY_MAX: &str = "innodb_io_capacity_max";
const LOG_FILE_SIZE: &str = "innodb_log_file_size";
const REDO_CAPACITY: &str = "innodb_redo_log_capacity";
const POOL: &str = "innodb_buffer_pool_size";
const POOL_MOST: &str = "innodb_buffer_pool_size_max";
const POOL_CHUNK: &str = "innodb_buffer_pool_chunk_size";
const POOL_INSTANCES: &str = "innodb_buffer_pool_instances";
const LOCAL_INFILE: &str = "local_infile";

/// All that is read.
pub(super) const NAMES: &[&str] = &[
    FLUSH_LOG,
    SYNC_BINLOG,
    DOUBLEWRITE,
    IO_CAPACITY,
    IO_CAPACITY_MAX,
    LOG_FILE_SIZE,
    REDO_CAPACITY,
    POOL,
    POOL_MOST,
    POOL_CHUNK,
    POOL_INSTANCES,
    LOCAL_INFILE,
    REDO_LOG,
];

/// Redo for so much before pages must be written: more has not much more effect, and takes longer to recover from.
const REDO_SIZES: [u64; 3] = [1 << 30, 512 << 20, 256 << 20];
/// No more than this part of what is free on the disk.
const REDO_OF_DISK: u64 = 16;
/// Both servers resize in steps that divide this, unless they say otherwise.
const POOL_UNIT: u64 = 128 << 20;

/// In the order in which they are tried: what helps most first, so that the rest is measured on top of it.
pub(super) fn settings(order: &Order, found: &BTreeMap<String, Reading>, memory: Option<&Memory>) -> Vec<Setting> {
    let value = |name: &str| found.get(name).map(|reading| reading.value.as_str());
    let number = |name: &str| value(name).and_then(|value| value.parse::<u64>().ok());
    let mut wanted: Vec<(&str, String, When)> = Vec::new();

    if value(LOCAL_INFILE) == Some("OFF") {
        wanted.push((LOCAL_INFILE, "ON".into(), When::Needed));
    }
    if order.may_lose_data && value(REDO_LOG) == Some("ON") {
        wanted.push((REDO_LOG, "OFF".into(), When::Faster));
    }
    // Not 0: with 2 a server that dies alone has lost no transaction, so that an import can go on where it was.
    if matches!(value(FLUSH_LOG), Some("1" | "3")) {
        wanted.push((FLUSH_LOG, "2".into(), When::Faster));
    }
    if number(SYNC_BINLOG).is_some_and(|every| every > 0) {
        wanted.push((SYNC_BINLOG, "0".into(), When::Faster));
    }
    if order.may_lose_data {
        // MySQL tells torn pages then, and cannot mend them; to be without needs a restart there.
        let off = if order.vendor == Vendor::Mysql { "DETECT_ONLY" } else { "OFF" };
        if matches!(value(DOUBLEWRITE), Some("ON" | "DETECT_AND_RECOVER" | "fast")) {
            wanted.push((DOUBLEWRITE, off.into(), When::Faster));
        }
    }
    // Not above the maximum: MariaDB then raises that, too, and says of neither that it was set.
    if let (Some(now), Some(most)) = (number(IO_CAPACITY), number(IO_CAPACITY_MAX))
        && most > now
    {
        wanted.push((IO_CAPACITY, most.to_string(), When::Faster));
    }
    let redo = if order.vendor == Vendor::Mysql { REDO_CAPACITY } else { LOG_FILE_SIZE };
    if let Some(now) = number(redo)
        && let Some(size) = REDO_SIZES.into_iter().find(|size| *size <= order.free_disk / REDO_OF_DISK && *size > now)
    {
        wanted.push((redo, size.to_string(), When::Faster));
    }
    if let (Some(now), Some(memory)) = (number(POOL), memory) {
        let steps = number(POOL_CHUNK).unwrap_or(0).saturating_mul(number(POOL_INSTANCES).unwrap_or(1));
        let size = memory.pool(now, POOL_UNIT.max(steps)).filter(|size| number(POOL_MOST).is_none_or(|most| *size <= most));
        wanted.extend(size.map(|size| (POOL, size.to_string(), When::Faster)));
    }

    let setting = |(name, want, when): (&str, String, When)| {
        let Reading { value, origin, .. } = found.get(name)?.clone();
        Some(Setting { name: name.to_owned(), want, had: value, origin, when })
    };
    wanted.into_iter().filter_map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARIADB: &[(&str, &str)] = &[
        (FLUSH_LOG, "1"),
        (SYNC_BINLOG, "0"),
        (DOUBLEWRITE, "ON"),
        (IO_CAPACITY, "200"),
        (IO_CAPACITY_MAX, "2000"),
        (LOG_FILE_SIZE, "100663296"),
        (POOL, "134217728"),
        (POOL_MOST, "8796093022208"),
        (POOL_CHUNK, "0"),
        (LOCAL_INFILE, "ON"),
    ];
    const MYSQL: &[(&str, &str)] = &[
        (FLUSH_LOG, "1"),
        (SYNC_BINLOG, "1"),
        (DOUBLEWRITE, "ON"),
        (IO_CAPACITY, "10000"),
        (IO_CAPACITY_MAX, "20000"),
        (REDO_CAPACITY, "104857600"),
        (POOL, "134217728"),
        (POOL_CHUNK, "134217728"),
        (POOL_INSTANCES, "1"),
        (LOCAL_INFILE, "OFF"),
        (REDO_LOG, "ON"),
    ];

    fn of(vendor: Vendor, may_lose_data: bool, values: &[(&str, &str)]) -> Vec<String> {
        let reading = |value: &str| Reading { value: value.to_owned(), origin: "compiled default".into(), is_set: false };
        let found = values.iter().map(|(name, value)| ((*name).to_owned(), reading(value))).collect();
        let order = Order { vendor, scratch: "flytt_shop_trial".into(), server: None, free_disk: 100 << 30, may_lose_data };
        let memory = Memory { total: 4 << 30, free: 4 << 30, resident: 0 };
        let settings = settings(&order, &found, Some(&memory));
        assert!(settings.iter().all(|setting| setting.want != setting.had));
        settings.into_iter().map(|setting| format!("{}={}", setting.name, setting.want)).collect()
    }

    #[test]
    fn each_vendor_is_offered_what_it_has() {
        assert_eq!(
            of(Vendor::Mariadb, false, MARIADB),
            [
                "innodb_flush_log_at_trx_commit=2",
                "innodb_io_capacity=2000",
                "innodb_log_file_size=1073741824",
                "innodb_buffer_pool_size=3221225472",
            ]
        );
        assert_eq!(
            of(Vendor::Mysql, false, MYSQL),
            [
                "local_infile=ON",
                "innodb_flush_log_at_trx_commit=2",
                "sync_binlog=0",
                "innodb_io_capacity=20000",
                "innodb_redo_log_capacity=1073741824",
                "innodb_buffer_pool_size=3221225472",
            ]
        );
    }

    #[test]
    fn what_may_cost_the_data_needs_consent() {
        let is_dangerous = |setting: &String| setting.starts_with(REDO_LOG) && !setting.starts_with(REDO_CAPACITY);
        let all = of(Vendor::Mysql, true, MYSQL);
        assert!(all.iter().any(is_dangerous) && all.contains(&"innodb_doublewrite=DETECT_ONLY".to_owned()), "{all:?}");
        let all = of(Vendor::Mysql, false, MYSQL);
        assert!(!all.iter().any(|setting| is_dangerous(setting) || setting.starts_with(DOUBLEWRITE)), "{all:?}");
        assert!(of(Vendor::Mariadb, true, MARIADB).contains(&"innodb_doublewrite=OFF".to_owned()));
    }

    #[test]
    fn what_an_owner_has_set_as_fast_already_is_left_alone() {
        let fast = [(FLUSH_LOG, "0"), (SYNC_BINLOG, "0"), (DOUBLEWRITE, "OFF"), (IO_CAPACITY, "2000"), (IO_CAPACITY_MAX, "2000")];
        assert_eq!(of(Vendor::Mariadb, true, &fast), [""; 0]);
        let large = [(LOG_FILE_SIZE, "4294967296"), (POOL, "8589934592"), (LOCAL_INFILE, "ON")];
        assert_eq!(of(Vendor::Mariadb, true, &large), [""; 0]);
    }
}
