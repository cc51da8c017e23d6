//! `playground`: sessions from the command line.
//!
//! A thin shell over the `session` crate. Exit status: 0; 1 with one line on standard error; 2 for wrong usage; or what
//! the guest's command ended with, 128 and the signal's number if it was killed.

mod cli;
mod copies;
mod description;
mod disk;
mod duration;
mod failure;
mod guest;
mod housekeeping;
mod image;
mod interrupt;
mod progress;
mod registry;
mod report;
mod run;
mod sessions;
mod size;
mod ssh;
mod storage;
mod terminal;
mod verify;

use std::process::ExitCode;

use clap::Parser;
use session::{About, Registries, Store, StoreOptions};

use cli::{Cli, Command, DiskCommand, ImageCommand};
use failure::Failure;
use report::Report;

fn main() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            failure::say(&failure::one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let registries = Registries::new(cli.registries.options()).map_err(session::Error::from)?;
    let options = StoreOptions {
        registries: Some(registries),
        ..StoreOptions::default()
    };
    let store = Store::open_with(cli.store.map_or_else(cli::default_store, Ok)?, options)?;
    let report = Report::new(cli.json);
    match cli.command {
        Command::Image(ImageCommand::Import(args)) => image::import(&store, report, args)?,
        Command::Image(ImageCommand::Ls) => image::list(&store, report)?,
        Command::Image(ImageCommand::Rm { name }) => image::remove(&store, report, &name)?,
        Command::Image(ImageCommand::Inspect { snapshot }) => {
            image::inspect(&store, report, &snapshot)?;
        }
        Command::Run(args) => return run::run(&store, report, args),
        Command::Resume(args) => return run::resume(&store, report, args),
        Command::SshProxy { session } => ssh::proxy(&store, &session)?,
        Command::Push {
            snapshot,
            reference,
            boot_pack,
        } => registry::push(&store, report, &snapshot, reference, boot_pack)?,
        Command::Publish {
            snapshot,
            reference,
            base,
            squash,
        } => {
            let base = registry::base(base, squash);
            registry::publish(&store, report, &snapshot, reference, base)?;
        }
        Command::Pull(args) => registry::pull(&store, report, args)?,
        Command::Gc { grace, compact } => housekeeping::gc(&store, report, grace, compact)?,
        Command::Verify { from: None, .. } => return verify::verify(&store, report),
        Command::Verify {
            from: Some(from), ..
        } => return verify::repair(&store, report, from),
        Command::Du { sessions: true, .. } => storage::of_sessions(&store, report)?,
        Command::Du {
            label: Some(label), ..
        } => storage::of_label(&store, report, label)?,
        Command::Du { .. } => housekeeping::usage(&store, report)?,
        Command::Fork { session, name } => sessions::fork(&store, report, &session, name)?,
        Command::Settle { session } => sessions::settle(&store, report, session)?,
        Command::Enforce => return sessions::enforce(&store, report),
        Command::Describe {
            session,
            notes,
            unlabel,
            unpin,
        } => {
            let change = |about: &mut About| {
                about.pinned &= !unpin;
                about.labels.retain(|key, _| !unlabel.contains(key));
                notes.apply(about);
            };
            sessions::describe(&store, report, &session, change)?;
        }
        Command::Clean {
            keep_stopped,
            grace,
        } => return housekeeping::clean(&store, report, keep_stopped, grace),
        Command::Ls => sessions::list(&store, report)?,
        Command::Inspect { session } => sessions::inspect(&store, report, &session)?,
        Command::Console { session } => sessions::console(&store, report, &session)?,
        Command::Rm { session } => sessions::remove(&store, report, &session)?,
        Command::Disk(DiskCommand::Export { snapshot, file }) => {
            disk::export(&store, report, &snapshot, &file)?;
        }
        Command::Disk(DiskCommand::Import { file, name }) => {
            disk::import(&store, report, &file, name.as_deref())?;
        }
        Command::Disk(DiskCommand::Diff { from, to }) => disk::diff(&store, report, &from, &to)?,
    }
    Ok(ExitCode::SUCCESS)
}
