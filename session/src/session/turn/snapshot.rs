//! Snapshots of a disk whose guest runs.
//!
//! ```text
//! prepare -> guest freezes its file systems -> switch to a fresh overlay -> guest thaws -> seal what lies below
//!            '------------------ the guest's writes wait ------------------'
//! ```

use std::time::{Duration, Instant};

use rootfs_store::Progress;

use super::Turn;
use crate::error::{Error, one_line};
use crate::machine::Control;
use crate::snapshot::Snapshot;

/// How long the guest may take to write everything out and hold its file systems still.
const FREEZE_PATIENCE: Duration = Duration::from_secs(30);
/// After how long the guest lets its file systems go on by itself. The switch takes a few milliseconds.
const FREEZE_LIMIT_MS: u32 = 10_000;
/// How long it may take to let them go on.
const THAW_PATIENCE: Duration = Duration::from_secs(10);

impl Turn {
    /// Makes snapshots of the disks while the guest runs, which `progress` is told of.
    pub(in crate::session) fn snapshot(&self, progress: &dyn Progress) -> Result<Snapshot, Error> {
        let (disks, record, control) = self.live(|live| {
            let disks = live.holding.sound_disks()?.clone();
            // A guest that stands still answers nothing, and writes nothing either.
            let control = (!live.is_paused).then(|| live.machine.control());
            Ok((disks, live.holding.record().clone(), control))
        })?;
        let store = self.shared.store.inner();
        let prepared = disks.prepare(store)?;
        let quiet = Quiet::begin(control);
        let frozen = prepared.freeze();
        let quiet = quiet.end();
        {
            let mut timings = self.shared.timings();
            timings.freeze = quiet.froze_in;
            timings.stall = Some(quiet.stall);
        }
        let begun = Instant::now();
        let snapshot = frozen.seal(store, &record, quiet.is_clean, progress)?;
        self.shared.timings().commit = Some(begun.elapsed());
        Ok(snapshot)
    }
}

/// A guest whose file systems hold still.
struct Quiet {
    /// With how long it took to come to that, by the guest's clock.
    frozen: Option<(Control, Duration)>,
    since: Instant,
}

/// What holding still came to.
struct WasQuiet {
    froze_in: Option<Duration>,
    /// For how long the guest's writes waited for the host, beside what freezing and thawing took the guest.
    stall: Duration,
    /// Whether they were still all the time.
    is_clean: bool,
}

impl Quiet {
    /// Asks the guest to hold its file systems still. One that does not gives a snapshot as after a power cut.
    fn begin(control: Option<Control>) -> Self {
        let asked = control.and_then(|control| {
            match control.ask(FREEZE_PATIENCE, |talk| talk.freeze(FREEZE_LIMIT_MS)) {
                Ok(took) => Some((control, took)),
                Err(error) => {
                    let error = one_line(&error);
                    tracing::warn!(error, "a guest did not freeze its file systems");
                    // It may do so when nobody waits for it any more.
                    drop(control.ask(THAW_PATIENCE, |talk| talk.let_thaw()));
                    None
                }
            }
        });
        Self {
            frozen: asked,
            since: Instant::now(),
        }
    }

    fn end(self) -> WasQuiet {
        let Some((control, froze_in)) = self.frozen else {
            return WasQuiet {
                froze_in: None,
                stall: self.since.elapsed(),
                is_clean: false,
            };
        };
        let thawed = control.ask(THAW_PATIENCE, |talk| talk.thaw());
        if let Err(error) = &thawed {
            let error = one_line(error);
            tracing::warn!(
                error,
                "a guest did not hold its file systems still until the end"
            );
        }
        WasQuiet {
            froze_in: Some(froze_in),
            stall: self.since.elapsed(),
            is_clean: thawed.is_ok(),
        }
    }
}
