//! After which layers an import seals what it has so far.
//!
//! Images are built on one another, so what they share is their first layers. The disk of these layers alone is sealed
//! into packs of its own, which are then the same for all images that begin so, and in every store; the whole
//! image adds only the chunks that its further layers bring.
//!
//! Where a step ends depends on the layers up to there only. Each step is at least a quarter of all before it, so there
//! are few, and the small files and metadata of all disks together are hashed at most five times.

/// Smallest step, in bytes of tar streams: less is not worth packs of its own.
const MIN_STEP_BYTES: u64 = 16 << 20;
/// A step is at least one such part of all that was sealed before it.
const PART: u64 = 4;

/// The steps of one import.
#[derive(Debug, Default)]
pub(super) struct Steps {
    sealed_bytes: u64,
    bytes: u64,
}

impl Steps {
    /// Whether a step ends with the next layer, which has so many bytes.
    pub(super) fn end_with(&mut self, layer_bytes: u64) -> bool {
        self.bytes += layer_bytes;
        let ends = self.bytes >= MIN_STEP_BYTES.max(self.sealed_bytes / PART);
        if ends {
            self.sealed_bytes += std::mem::take(&mut self.bytes);
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn ends(layers: &[u64]) -> Vec<bool> {
        let mut steps = Steps::default();
        layers.iter().map(|mib| steps.end_with(mib * MIB)).collect()
    }

    #[test]
    fn small_layers_wait_for_more() {
        assert_eq!(
            ends(&[15, 1, 3, 4, 8, 1]),
            [false, true, false, false, false, true]
        );
        assert_eq!(
            ends(&[100, 24, 1, 30, 31]),
            [true, false, true, false, true]
        );
    }

    #[test]
    fn what_follows_changes_nothing() {
        let all = [40, 3, 60, 2, 2, 90];
        for len in 0..all.len() {
            assert_eq!(ends(&all[..len]), ends(&all)[..len]);
        }
    }

    #[test]
    fn any_number_of_layers_has_few_steps() {
        let steps = ends(&[17; 4000]).into_iter().filter(|ends| *ends).count();
        assert!(steps < 40, "{steps} steps");
    }
}
