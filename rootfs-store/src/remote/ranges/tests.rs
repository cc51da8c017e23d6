use proptest::prelude::*;

use super::*;

const LEN: usize = 40;

fn range() -> impl Strategy<Value = Range<u64>> {
    (0..LEN as u64, 0..LEN as u64).prop_map(|(a, b)| a.min(b)..a.max(b))
}

fn members(range: &Range<u64>) -> impl Iterator<Item = usize> + use<> {
    (range.start..range.end).map(|at| usize::try_from(at).unwrap())
}

proptest! {
    #[test]
    fn set_holds_what_was_put_in_and_not_taken_out(
        changes in prop::collection::vec((any::<bool>(), range()), 0..30),
        asked in range(),
    ) {
        let (mut set, mut model) = (Ranges::default(), [false; LEN]);
        for (insert, range) in changes {
            members(&range).for_each(|at| model[at] = insert);
            match insert {
                true => set.insert(range),
                false => set.remove(&range),
            }
        }
        prop_assert_eq!(set.bytes(), model.iter().filter(|is_in| **is_in).count() as u64);
        let found: Vec<_> = set.iter().collect();
        prop_assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start));
        prop_assert_eq!(set.contains(&asked), members(&asked).all(|at| model[at]));
        if !asked.is_empty() {
            prop_assert_eq!(set.overlaps(&asked), members(&asked).any(|at| model[at]));
        }
        let is_in = |at: &usize| model[*at];
        prop_assert_eq!(set.bytes_in(asked.clone()), members(&asked).filter(is_in).count() as u64);
        let mut left = model;
        for gap in set.missing(asked.clone()) {
            prop_assert!(!gap.is_empty() && asked.start <= gap.start && gap.end <= asked.end);
            for at in members(&gap) {
                prop_assert!(!left[at]);
                left[at] = true;
            }
        }
        prop_assert!(members(&asked).all(|at| left[at]));
        let mut before = model.iter().take(members(&(0..asked.start)).count());
        let before = before.rposition(|is_in| *is_in).map(|at| at as u64 + 1);
        prop_assert_eq!(set.end_before(asked.start), before);
    }
}
