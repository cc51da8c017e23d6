//! The thread that watches a session: its guest's end, and its limits.
//!
//! Invariant: it does not keep a session alive that nobody else has, and ends with it.

mod ending;
mod retry;
mod room;
mod warning;

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ending::{end, gone, gone_by, has_ended, is_due, is_running};
use retry::Retry;
use room::Room;
use warning::warn;

use super::phase::Phase;
use super::shared::Shared;
use super::turn::Claim;
use crate::activity::Activity;
use crate::error::{Error, Repr, one_line};
use crate::event::Event;
use crate::limits::{AtEnd, Sample, Verdict};
use crate::machine::{GoneKind, Watch};
use crate::over::Over;
use crate::quotas;

/// How often the session's folder is told that the session is alive.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// The names of network devices, and which of their queues the guest sends by (virtio 1.2, section 5.1.2).
const NETWORK_DEVICES: &str = "vm-net";
const SENDING_QUEUE: usize = 1;

/// Starts to watch a session.
pub(super) fn start(shared: &Arc<Shared>) -> Result<(), Error> {
    let name = "session-watch";
    let watcher = Watcher {
        session: Arc::downgrade(shared),
        over: Arc::clone(&shared.over),
        last_beat: None,
        room: Room::default(),
        retry: Retry::default(),
    };
    let thread = thread::Builder::new().name(name.to_owned());
    let started = thread.spawn(move || watcher.run());
    Ok(started
        .map(drop)
        .map_err(|source| Repr::Thread { name, source })?)
}

/// What was counted of a session so far.
pub(super) fn sample(activity: &Activity, guest: Option<&Watch>) -> Sample {
    let metrics = guest.map(Watch::metrics).unwrap_or_default();
    let networks = metrics
        .devices
        .iter()
        .filter(|device| device.name.starts_with(NETWORK_DEVICES));
    let sent = networks.filter_map(|device| device.queues.get(SENDING_QUEUE));
    Sample {
        commands: activity.commands(),
        uses: activity.uses(),
        network_bytes: sent.map(|queue| queue.bytes_from_guest).sum(),
        cpu: metrics.vcpus.iter().map(|vcpu| vcpu.cpu_time).sum(),
    }
}

struct Watcher {
    session: Weak<Shared>,
    over: Arc<Over>,
    last_beat: Option<Instant>,
    room: Room,
    retry: Retry,
}

impl Watcher {
    fn run(mut self) {
        while let Some(guest) = self.look() {
            // The guest's end is waited for without the session, so that this does not keep it alive.
            let pause = self.room.pause();
            let gone = guest.as_ref().and_then(|guest| guest.exit_within(pause));
            let is_over = guest.is_none() && self.over.is_set_within(pause);
            let Some(shared) = self.session.upgrade().filter(|_| !is_over) else {
                return;
            };
            if gone.is_some() {
                self.after_end(&shared);
            }
            self.beat(&shared);
            self.try_again(&shared);
            self.look_at_limits(&shared);
            self.look_for_room(&shared);
        }
    }

    /// The guest, if one runs; nothing at all if there is nothing to watch any more.
    #[expect(
        clippy::option_option,
        reason = "there may be no session, and no guest"
    )]
    fn look(&self) -> Option<Option<Watch>> {
        let shared = self.session.upgrade()?;
        let inner = shared.lock();
        match &inner.phase {
            Phase::Running(live) => Some(Some(live.machine.watch())),
            Phase::Busy(..) | Phase::Halted(_) | Phase::Removing(_) => Some(None),
            Phase::Stopped(_) | Phase::Removed => None,
        }
    }

    /// Leaves a sign of life, which says when the session was last in use if its process dies.
    fn beat(&mut self, shared: &Arc<Shared>) {
        if self
            .last_beat
            .is_some_and(|last| last.elapsed() < HEARTBEAT)
        {
            return;
        }
        self.last_beat = Some(Instant::now());
        let clock = shared.store.clock();
        let age = shared.limit_watch().age(clock.monotonic());
        if let Phase::Running(live) = &shared.lock().phase {
            let started = Duration::from_secs(live.holding.record().started.unwrap_or_default());
            // A time of day that was set back meanwhile takes nothing off what the run has lasted.
            let lasted_until = UNIX_EPOCH.checked_add(started.saturating_add(age));
            let beat = lasted_until.map_or(clock.wall(), |until| clock.wall().max(until));
            live.holding.folder().beat(beat);
        }
    }

    fn look_at_limits(&mut self, shared: &Arc<Shared>) {
        let (guest, is_over) = {
            let inner = shared.lock();
            (inner.phase.watch(), has_ended(&inner.phase))
        };
        if is_over || self.is_quiet() {
            return;
        }
        let sample = sample(&shared.activity, guest.as_ref());
        let limits = shared.limits().clone();
        let now = shared.store.clock().monotonic();
        let verdicts = shared.limit_watch().check(now, sample, &limits);
        for verdict in verdicts {
            match verdict {
                Verdict::Near { limit, left } => warn(shared, limit, left, limits.tell_guest),
                Verdict::Over { limit } => {
                    shared.events.tell(Event::LimitReached { limit });
                    self.end(shared, || is_due(shared, limit));
                }
            }
        }
    }
}

impl Watcher {
    /// Ends a session that has written too much, or whose host's disk is nearly full, while there is room to do so.
    fn look_for_room(&mut self, shared: &Arc<Shared>) {
        if self.is_quiet() {
            return;
        }
        let free = quotas::free_bytes(shared.store.dir());
        let found = match &shared.lock().phase {
            Phase::Running(live) => {
                let written = live.holding.written_bytes();
                let found = self.room.look(free, written, shared.store.quotas());
                if let Some(limits) = found.limits {
                    live.holding.limit_disks(limits);
                }
                found
            }
            _ => return,
        };
        if let Some(event) = found.end {
            shared.events.tell(event);
            self.end(shared, || is_running(shared).then_some(AtEnd::Shutdown));
        }
    }

    /// Ends what could not be ended: after its guest is gone no limit and no quota says so again. A termination may have
    /// been anyone's.
    fn try_again(&mut self, shared: &Arc<Shared>) {
        let owed = self.retry.owed;
        let due = || match shared.lock().phase {
            Phase::Removing(_) => Some(AtEnd::Terminate),
            Phase::Halted(_) => owed,
            _ => None,
        };
        if !self.is_quiet() && due().is_some() {
            self.end(shared, due);
        }
    }

    /// Ends the session if `is_due` says how, once no other operation changes that, and tells how it went.
    fn end(&mut self, shared: &Arc<Shared>, is_due: impl FnOnce() -> Option<AtEnd>) {
        let ended = end(shared, is_due);
        self.retry.note(ended, Instant::now());
    }

    fn is_quiet(&self) -> bool {
        self.retry.is_quiet(Instant::now())
    }
}

impl Watcher {
    /// Sees to a guest that has ended, unless somebody else has done so.
    fn after_end(&mut self, shared: &Arc<Shared>) {
        let turn = Claim::new(shared).wait();
        let Some(gone) = gone(shared) else {
            return;
        };
        match gone.kind {
            GoneKind::Crash => {
                let reason = gone.reason.clone();
                turn.note_crash(gone);
                shared.events.tell(Event::GuestFailed { reason });
            }
            GoneKind::Reboot => {
                if let Err(error) = turn.reboot() {
                    let error = one_line(&error);
                    tracing::warn!(error, "a guest that rebooted did not come up again");
                }
            }
            GoneKind::PowerOff => {
                drop(turn);
                shared.events.tell(Event::PoweredOff);
                // Somebody may have started it again, or ended the session.
                let is_off = || gone_by(shared, GoneKind::PowerOff);
                self.end(shared, || is_off().then(|| shared.limits().at_power_off));
            }
            // Whoever stopped it sees to the rest.
            GoneKind::Stopped => {}
        }
    }
}

#[cfg(test)]
mod tests;
