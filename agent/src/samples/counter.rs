//! How far one of the kernel's counters went: past the end of 32 bits, too, and not where it began anew.

/// What no device does in a second, in operations, sectors (32 GiB) or milliseconds waited. A 32-bit counter that seems to have
/// gone further was not wrapped but reset.
const MOST_A_SECOND: f64 = (1_u64 << 26) as f64;

/// The most that a wrapped counter can have gone in so many seconds.
pub(super) fn most(seconds: f64) -> u64 {
    // Beyond half of its range a counter's way cannot be told from its way back.
    (MOST_A_SECOND * seconds).min((1_u64 << 31) as f64) as u64
}

/// `None`: it was reset. The kernel prints times in milliseconds as 32 bits (`part_stat_show` in block/genhd.c), and on 32-bit
/// machines all of them; whether the other counters have 64 bits shows once they exceed 32.
pub(super) fn grown(before: u64, after: u64, most: u64) -> Option<u64> {
    if let Some(grown) = after.checked_sub(before) {
        return Some(grown);
    }
    let wrapped = (after + (1 << 32)).checked_sub(before)?;
    (before <= u64::from(u32::MAX) && wrapped <= most).then_some(wrapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u64 = u32::MAX as u64;

    #[test]
    fn a_counter_goes_on_past_the_end_of_32_bits() {
        assert_eq!(grown(5, 12, most(1.0)), Some(7));
        assert_eq!(grown(END - 2, 4, most(1.0)), Some(7));
        assert_eq!(grown(END, 0, most(1.0)), Some(1));
        assert_eq!(grown(END + 5, END + 9, most(1.0)), Some(4));
    }

    #[test]
    fn one_that_went_too_far_began_anew() {
        assert_eq!(grown(3_000_000_000, 50, most(1.0)), None, "1.3 thousand million in a second");
        assert_eq!(grown(END + 5, 50, most(1.0)), None, "a 64-bit counter does not wrap");
        assert_eq!(grown(100, 99, most(1e9)), None, "nearly the whole range, however long it took");
    }
}
