//! The numbers of a sample, part by part and always in the same order: what keeps, sums up or rounds them goes by these lists.

use flytt_proto::v1::sample::{Cpu, Disk, Net, Pressure};

pub(super) fn cpu(of: &mut Cpu) -> [&mut f64; 6] {
    [&mut of.user, &mut of.system, &mut of.iowait, &mut of.steal, &mut of.idle, &mut of.nice]
}

pub(super) fn pressure(of: &mut Pressure) -> [&mut f64; 5] {
    [&mut of.cpu_some, &mut of.io_some, &mut of.io_full, &mut of.memory_some, &mut of.memory_full]
}

pub(super) fn disk(of: &mut Disk) -> [&mut f64; 16] {
    [
        &mut of.r_s,
        &mut of.w_s,
        &mut of.r_mb_s,
        &mut of.w_mb_s,
        &mut of.rrqm_s,
        &mut of.wrqm_s,
        &mut of.r_await,
        &mut of.w_await,
        &mut of.aqu_sz,
        &mut of.util,
        &mut of.f_s,
        &mut of.f_await,
        &mut of.d_s,
        &mut of.d_mb_s,
        &mut of.drqm_s,
        &mut of.d_await,
    ]
}

pub(super) fn net(of: &mut Net) -> [&mut f64; 3] {
    [&mut of.rx_bytes_s, &mut of.tx_bytes_s, &mut of.drops_s]
}
