//! One connection, one job: its first frame says which.

use std::fs::File;

use agent::protocol::{Config, Failure, FailureKind, Frame, MAX_COMMANDS};

use super::link::Link;
use super::{command, connect, copy, listen};

/// Serves one connection to its end. `place` is asked for a place among the jobs that may run.
pub(super) fn serve<P>(connection: File, defaults: &Config, place: impl FnOnce() -> Option<P>) {
    let Ok(mut link) = Link::new(connection) else {
        return;
    };
    let Some(first) = link.receive_first() else {
        return;
    };
    let place = place();
    let last = match first {
        Ok(_) if place.is_none() => {
            let message = format!("the guest runs {MAX_COMMANDS} commands already");
            Some(failed(FailureKind::Busy, message))
        }
        Ok(Frame::Exec(exec)) => command::run(&mut link, &exec, defaults),
        Ok(Frame::Pack(pack)) => copy::pack(&mut link, &pack),
        Ok(Frame::Unpack(unpack)) => copy::unpack(&mut link, &unpack),
        Ok(Frame::Connect(address)) => connect::run(&mut link, &address),
        Ok(Frame::Listen(listen)) => listen::run(&mut link, &listen),
        Ok(_) => {
            let message = "the first frame of a connection names no job".to_owned();
            Some(failed(FailureKind::Invalid, message))
        }
        Err(failure) => Some(Frame::Failed(failure)),
    };
    drop(place);
    if let Some(frame) = last {
        link.finish(&frame);
    }
}

/// The answer to what was not carried out.
pub(super) fn failed(kind: FailureKind, message: String) -> Frame {
    Frame::Failed(Failure { kind, message })
}
