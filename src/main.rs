//! The binary: hands the machine (arguments, clock, terminal, streams) to the library.

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_macros, clippy::disallowed_types))]

use std::io;
use std::process::ExitCode;

use kluis::cli::Machine;

#[global_allocator]
static ALLOCATOR: kluis::env::ZeroingAllocator = kluis::env::ZeroingAllocator;

fn main() -> ExitCode {
    kluis::env::harden();
    kluis::env::end_on_interrupt();
    let args = std::env::args_os().skip(1);
    let (mut out, mut err) = (io::stdout().lock(), io::stderr());
    let machine = Machine { now: kluis::env::now(), terminal: kluis::env::Terminal::system(), state: None };
    let exit = kluis::cli::run(args, machine, &mut out, &mut err);
    ExitCode::from(exit)
}
