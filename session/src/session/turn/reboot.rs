//! Starting a guest again, with the same disk.

use std::time::Instant;

use super::Turn;
use crate::background::Background;
use crate::error::{Error, one_line};
use crate::event::Event;
use crate::holding::Holding;
use crate::launch;
use crate::machine::{Machine, Watch};
use crate::session::not_running;
use crate::session::phase::{Doing, Live, Phase};

impl Turn {
    /// Ends the guest, if it has not ended, and starts it again.
    ///
    /// If it does not come up, the session's disk is kept, and a shutdown or a resume goes on from there.
    pub(in crate::session) fn reboot(mut self) -> Result<(), Error> {
        self.live(|_| Ok(()))?;
        self.take_out(Doing::Rebooting);
        self.power_off();
        if self.shared.is_doomed() {
            return Err(not_running("it is being terminated"));
        }
        let Some(Phase::Halted(mut halted)) = self.taken.take() else {
            return Err(not_running("it is gone"));
        };
        let begun = Instant::now();
        match self.boot(&mut halted.holding) {
            Ok((machine, background)) => {
                let live = Live::new(machine, background, halted.holding);
                self.taken = Some(Phase::Running(Box::new(live)));
                self.put_back();
                self.shared.guest_is_up();
                let took = begun.elapsed();
                self.shared.events.tell(Event::Rebooted { took });
                Ok(())
            }
            Err(error) => {
                let reason = format!("it did not come up again: {}", one_line(&error));
                self.shared.events.tell(Event::GuestFailed {
                    reason: reason.clone(),
                });
                if let Err(error) = halted.holding.fail(&reason) {
                    tracing::warn!(%error, "could not write down how a reboot failed");
                }
                halted.crash = Some(reason);
                self.taken = Some(Phase::Halted(halted));
                Err(error)
            }
        }
    }

    fn boot(&self, holding: &mut Holding) -> Result<(Machine, Background), Error> {
        let started = |watch: Watch| {
            // Whoever terminates the session from now on ends this guest; whoever began to before is noted.
            let published = Some(watch.clone());
            self.shared.lock().phase = Phase::Busy(Doing::Rebooting, published);
            if self.shared.is_doomed() {
                watch.stop();
            }
        };
        let mut timings = *self.shared.timings();
        let plan = &self.shared.plan;
        let booted = launch::boot(&self.shared.store, holding, plan, &mut timings, &started);
        *self.shared.timings() = timings;
        booted
    }
}
