//! The binary: hands the machine (arguments, clock, terminal, streams) to the library.

use std::io;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: kluis::env::ZeroingAllocator = kluis::env::ZeroingAllocator;

fn main() -> ExitCode {
    let args = std::env::args_os().skip(1);
    let (mut out, mut err) = (io::stdout().lock(), io::stderr());
    let exit = kluis::cli::run(args, kluis::env::now(), kluis::env::Terminal::system(), &mut out, &mut err);
    ExitCode::from(exit)
}
