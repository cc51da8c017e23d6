use proptest::prelude::*;

use super::*;

fn pack(number: u8) -> BlobDigest {
    BlobDigest::from_bytes([number; 32])
}

fn want(number: u8, range: Range<u64>) -> Want {
    Want {
        pack: pack(number),
        range,
    }
}

#[test]
fn small_gaps_are_closed_first() {
    let wants = [
        want(1, 0..1000),
        want(1, 1200..2000),
        want(1, 2100..3000),
        want(1, 9000..9100),
    ];
    // As much as 2800 may be fetched needlessly: the gaps of 100 and of 200, but not of 6000.
    assert_eq!(plan(&wants), [want(1, 0..3000), want(1, 9000..9100)]);
}

#[test]
fn large_gaps_are_left_open() {
    let (before, after) = (want(1, 0..1_000_000), want(1, 1_300_000..2_300_000));
    assert_eq!(plan(&[before.clone(), after.clone()]), [before, after]);
}

#[test]
fn most_urgent_ranges_come_first() {
    let wants = [
        want(2, 50_000_000..50_010_000),
        want(1, 0..10_000),
        want(2, 10..20),
    ];
    let planned = plan(&wants);
    assert_eq!(planned, wants);
}

#[test]
fn nothing_is_wanted_and_nothing_planned() {
    assert_eq!(plan(&[]), []);
}

proptest! {
    #[test]
    fn plan_has_all_that_is_wanted_and_little_else(
        wants in prop::collection::vec((0..3u8, 0..20_000_000u64, 1..200_000u64), 0..200),
    ) {
        let wants: Vec<_> = wants
            .into_iter()
            .map(|(pack, start, len)| want(pack, start..start + len))
            .collect();
        let planned = plan(&wants);
        for want in &wants {
            let mut at = want.range.start;
            // A long run may be cut.
            while at < want.range.end {
                let holds = |piece: &&Want| {
                    piece.pack == want.pack && (piece.range.start..piece.range.end).contains(&at)
                };
                at = planned.iter().find(holds).unwrap().range.end;
            }
        }
        prop_assert!(planned.iter().all(|piece| len(&piece.range) <= MAX_READ_BYTES));
        prop_assert!(planned.len() <= wants.len());
        let wanted: u64 = wants.iter().map(|want| len(&want.range)).sum();
        let fetched: u64 = planned.iter().map(|want| len(&want.range)).sum();
        prop_assert!(fetched <= wanted + wanted * WASTE);
    }
}
