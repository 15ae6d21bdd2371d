//! `gateway-plane --socket FILE [--threads N] [--orphan-timeout SECONDS] [--carrier auto|io_uring|epoll]
//! [--gather MICROSECONDS] [--secret FILE]`: the secret is in that file, which is made where it is not, or comes by
//! standard input.

use gateway_plane::control::{Control, Uplinks};
use gateway_plane::handshake::Secret;
use gateway_plane::registry::Registry;
use gateway_plane::sys::{self, Bell};
use gateway_plane::wire::VERSION;
use gateway_plane::worker::{Carrier, Made, Uplink, Worker};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::Arc;

/// Punts that wait for the control thread, of peers and of strangers.
const PUNTS: usize = 4096;
const STRANGERS: usize = 1024;
const MAX_THREADS: usize = 64;
/// How long datagrams are gathered, us, and at most.
const GATHER: u32 = 1_000;
const LONGEST_GATHER: u32 = 10_000;
const LONGEST_SECRET: u64 = 4096;
/// Octets of one that is made here.
const SECRET: usize = 32;

struct Arguments {
    socket: PathBuf,
    threads: usize,
    orphan_timeout: f64,
    carrier: Option<Carrier>,
    gather: u32,
    secret: Option<PathBuf>,
}

fn arguments() -> Result<Option<Arguments>, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut parsed = Arguments {
        socket: PathBuf::new(),
        threads: cores,
        orphan_timeout: 60.0,
        carrier: None,
        gather: GATHER,
        secret: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        if name == "--version" {
            return Ok(None);
        }
        let value = given.next().ok_or(format!("{name} wants a value"))?;
        let wrong = || format!("{name} {value} is not understood");
        match name.as_str() {
            "--socket" => parsed.socket = value.into(),
            "--threads" => parsed.threads = value.parse().map_err(|_| wrong())?,
            "--orphan-timeout" => parsed.orphan_timeout = value.parse().map_err(|_| wrong())?,
            "--carrier" => parsed.carrier = Some(value.parse().map_err(|()| wrong())?),
            "--secret" => parsed.secret = Some(value.into()),
            "--gather" => parsed.gather = value.parse().map_err(|_| wrong())?,
            _ => return Err(format!("{name} is not an option")),
        }
    }
    if parsed.socket.as_os_str().is_empty() {
        return Err("--socket is missing".into());
    }
    if parsed.threads == 0 {
        parsed.threads = cores;
    }
    parsed.threads = parsed.threads.min(MAX_THREADS);
    parsed.gather = parsed.gather.min(LONGEST_GATHER);
    parsed.orphan_timeout = parsed.orphan_timeout.clamp(0.0, 86_400.0);
    Ok(Some(parsed))
}

/// Listen on a socket of this user only; a name that nobody answers any more is taken over.
fn listen(socket: &Path) -> Result<UnixListener, String> {
    // The name of a Unix socket has about a hundred octets: only its last part is used.
    let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::env::set_current_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let name = Path::new(socket.file_name().ok_or("--socket names no file")?);
    if UnixStream::connect(name).is_ok() {
        return Err("another plane listens there".into());
    }
    let _ = std::fs::remove_file(name);
    sys::private_files();
    UnixListener::bind(name).map_err(|error| format!("{}: {error}", socket.display()))
}

/// What is in `file`, or comes by standard input.
fn secret(file: Option<&Path>) -> Result<Secret, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut octets = Vec::new();
    match file {
        None => std::io::stdin().take(LONGEST_SECRET).read_to_end(&mut octets).map_err(text)?,
        Some(name) => {
            make_secret(name).map_err(text)?;
            File::open(name).map_err(text)?.take(LONGEST_SECRET).read_to_end(&mut octets).map_err(text)?
        }
    };
    Secret::new(&octets).ok_or("the secret is too short".into())
}

/// Make the file of a secret where there is none, for this user only; it is there as a whole or not at all.
fn make_secret(name: &Path) -> std::io::Result<()> {
    if name.exists() {
        return Ok(());
    }
    let mut octets = [0; SECRET];
    sys::random(&mut octets)?;
    let new = name.with_extension(format!("new-{}", std::process::id()));
    // In a container every plane has the same number: one that died here, or had no room, has left its file.
    let _ = std::fs::remove_file(&new);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?.write_all(&octets)?;
    let made = std::fs::hard_link(&new, name);
    std::fs::remove_file(&new)?;
    made.or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

fn seed() -> Result<u64, String> {
    let mut octets = [0; 8];
    sys::random(&mut octets).map_err(|error| error.to_string())?;
    Ok(u64::from_ne_bytes(octets))
}

fn start(arguments: &Arguments) -> Result<Control, String> {
    // Before the folder is another one; what is not there yet is made before anybody can connect.
    let secret = secret(arguments.secret.as_deref())?;
    let listener = listen(&arguments.socket)?;
    sys::raise_descriptor_limit();
    let carrier = arguments.carrier.unwrap_or_else(Carrier::best);
    let text = |error: std::io::Error| error.to_string();
    let bell = Arc::new(Bell::new().map_err(text)?);
    let attached = Arc::new(AtomicBool::new(false));
    let (punt, punts) = sync_channel(PUNTS);
    let (stranger, strangers) = sync_channel(STRANGERS);
    let (event, events) = channel();
    let made: Vec<Made> = (0..arguments.threads).map(|_| Made::new()).collect::<Result<_, _>>().map_err(text)?;
    let handles: Vec<_> = made.iter().map(|each| each.handle.clone()).collect();
    let mut threads = Vec::new();
    for (index, each) in made.into_iter().enumerate() {
        let Made { handle, counters, orders, bell: own } = each;
        let seed = seed()?;
        let uplink = Uplink::new(
            index,
            Arc::clone(&counters),
            (punt.clone(), stranger.clone()),
            event.clone(),
            Arc::clone(&bell),
            Arc::clone(&attached),
            seed,
        );
        let worker =
            Worker::new(orders, own, uplink, handles.clone(), seed, (carrier, arguments.gather)).map_err(text)?;
        std::thread::Builder::new().name(format!("packets-{index}")).spawn(|| worker.run()).map_err(text)?;
        threads.push((handle, counters));
    }
    let uplinks = Uplinks { bell, attached, punts, strangers, events };
    let orphan_timeout = (arguments.orphan_timeout * 1e9) as u64;
    Control::new(listener, secret, Registry::new(threads, seed()?), uplinks, orphan_timeout).map_err(text)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("gateway-plane {} protocol {VERSION}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Err(text) => {
            eprintln!("gateway-plane: {text}");
            return ExitCode::from(2);
        }
    };
    match start(&arguments) {
        Ok(control) => {
            // Whoever started it waits for this line.
            println!("listening");
            control.run();
            if let Some(name) = arguments.socket.file_name() {
                let _ = std::fs::remove_file(name);
            }
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("gateway-plane: {text}");
            ExitCode::FAILURE
        }
    }
}
