//! TCP between the guest and this process, over an interface of the host.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use crate::Outcome;
use crate::compare::{Args, Figures};
use crate::process::Machine;
use crate::spec::{Spec, Vmm};

const INTERFACE: &str = "bench0";
const ADDRESS: &str = "10.77.0.1";
/// How often the guest connects, after which the port is free again.
const CONNECTIONS: usize = 4;
/// What the guest takes, in bytes.
const BYTES: u64 = 32 << 20;

/// Bytes a second each way, and seconds for a byte to the host and back.
pub(crate) fn measure(args: &Args, vmm: Vmm) -> Outcome<Figures> {
    let _interface = Interface::create()?;
    let listener = TcpListener::bind((ADDRESS, 5201))?;
    thread::spawn(move || {
        for stream in listener.incoming().take(CONNECTIONS).flatten() {
            if let Err(error) = serve(stream) {
                eprintln!("vm-benches: a connection of the guest failed: {error}");
            }
        }
    });
    let spec = Spec {
        tap: Some(INTERFACE),
        ..Spec::new(&args.kernel, &args.initrd, "net")
    };
    let (_, results) = Machine::start(spec.command(vmm)?)?.end()?;
    Ok(results.into_iter().collect())
}

/// Does what the connection's first byte says.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut what = [0];
    stream.read_exact(&mut what)?;
    match &what {
        b"t" => {
            io::copy(&mut stream, &mut io::sink())?;
            stream.write_all(&what)
        }
        b"g" => io::copy(&mut io::repeat(0x5a).take(BYTES), &mut stream).map(drop),
        _ => {
            while stream.read(&mut what)? == 1 {
                stream.write_all(&what)?;
            }
            Ok(())
        }
    }
}

/// An interface that is there as long as this is.
struct Interface;

impl Interface {
    fn create() -> Outcome<Self> {
        ip(&["tuntap", "add", "dev", INTERFACE, "mode", "tap"])?;
        let made = Self;
        ip(&["addr", "add", &format!("{ADDRESS}/24"), "dev", INTERFACE])?;
        ip(&["link", "set", INTERFACE, "up"])?;
        Ok(made)
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        if let Err(error) = ip(&["tuntap", "del", "dev", INTERFACE, "mode", "tap"]) {
            eprintln!("vm-benches: {error}");
        }
    }
}

fn ip(args: &[&str]) -> Outcome {
    let status = Command::new("ip").args(args).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("ip {}: {status}", args.join(" ")).into()),
    }
}
