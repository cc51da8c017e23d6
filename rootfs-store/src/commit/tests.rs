use super::*;

const MIB: u64 = 1 << 20;

/// Packs of a disk, and what is live of each, while commits add more.
#[derive(Default)]
struct Model {
    packs: Vec<Pack>,
    live: BTreeMap<BlobDigest, u64>,
    made: u64,
    gathered: usize,
    copied: u64,
}

impl Model {
    fn pack(&mut self, bytes: u64) -> Pack {
        self.made += 1;
        let digest = BlobDigest::of(&self.made.to_le_bytes());
        self.live.insert(digest, bytes);
        Pack { digest, bytes }
    }

    /// A disk as an import leaves it.
    fn imported(count: usize, bytes: u64) -> Self {
        let mut model = Self::default();
        for _ in 0..count {
            let pack = model.pack(bytes);
            model.packs.push(pack);
        }
        model
    }

    fn commit(&mut self, bytes: u64) {
        let known = self.packs.len();
        let pack = self.pack(bytes);
        self.packs.push(pack);
        if !is_due(&self.packs, known) {
            return;
        }
        let from = worth_gathering(&self.packs, &self.live);
        self.packs.retain(|pack| !from.contains(&pack.digest));
        let mut rest: u64 = from.iter().map(|pack| self.live[pack]).sum();
        self.gathered += 1;
        self.copied += rest;
        while rest > 0 {
            let pack = self.pack(rest.min(PACK_BYTES));
            rest -= pack.bytes;
            self.packs.push(pack);
        }
    }

    /// Nothing of the oldest pack is needed any more.
    fn replace_oldest(&mut self) {
        let oldest = self.packs.iter().find(|pack| self.live[&pack.digest] > 0);
        let oldest = oldest.unwrap().digest;
        self.live.insert(oldest, 0);
    }
}

#[test]
fn small_commits_gather_once_in_fifty_however_many_large_packs_the_disk_has() {
    for large in [0, 1, 30, 49, 50, 51, 70, 99, 100, 101, 120, 400] {
        for bytes in [SMALL_BYTES, 300 * MIB, PACK_BYTES] {
            let mut model = Model::imported(large, bytes);
            for _ in 0..1000 {
                model.commit(MIB);
                let most = MAX_PACKS.max(large + SPARE_PACKS + 4);
                assert!(
                    model.packs.len() <= most,
                    "{} of {large}",
                    model.packs.len()
                );
            }
            assert!(model.gathered <= 20, "{large}: {}", model.gathered);
            assert!(model.gathered >= 10, "{large}: {}", model.gathered);
            // What is copied again and again becomes a large pack, which stays.
            assert!(model.copied < 20 * SMALL_BYTES, "{large}: {}", model.copied);
        }
    }
}

#[test]
fn large_packs_that_later_ones_replaced_do_not_pile_up() {
    for large in [5, 90, 99, 100, 101, 120, 150] {
        let mut model = Model::imported(large, PACK_BYTES);
        for _ in 0..1000 {
            model.replace_oldest();
            model.commit(300 * MIB);
            let most = MAX_PACKS.max(large) + 8 * usize::from(LARGE_PER_GATHERING);
            assert!(
                model.packs.len() <= most,
                "{} of {large}",
                model.packs.len()
            );
        }
        let most = 1000 / usize::from(LARGE_PER_GATHERING) * 3 / 2;
        assert!(model.gathered <= most, "{large}: {}", model.gathered);
        assert_eq!(model.copied, 0);
    }
}
