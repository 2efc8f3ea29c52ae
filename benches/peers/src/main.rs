//! Times gatefold and a peer in turns and prints the ratios. What is timed is verified first.

mod child;
mod options;
mod peers;
mod row;
mod statistics;
mod table;

use std::process::ExitCode;

use contestant::{Result, Task};
use gatefold::gpu::Adapter;

use options::Options;
use table::Table;

fn main() -> ExitCode {
    let options = match options::parse() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("peers: {error}; see --help");
            return ExitCode::FAILURE;
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let adapter = peers::adapter();
    let software = adapter.as_ref().is_some_and(Adapter::is_software);
    let mut table = Table::new(options);
    for peer in &options.peers {
        let mut pair = match peer.start(adapter.as_ref()) {
            Ok(pair) => Some(pair),
            Err(reason) => {
                eprintln!("{}: missing: {reason}", peer.name);
                table.missing(peer, &reason.to_string());
                table.write(options)?;
                continue;
            }
        };
        for &kind in &options.kinds {
            for &shape in &options.shapes {
                let result = match peer.refuses(kind, shape, options.chosen, software) {
                    Some(reason) => Err(reason.into()),
                    None => match pair.take().map_or_else(|| peer.start(adapter.as_ref()), Ok) {
                        Err(reason) => Err(reason),
                        Ok(mut started) => {
                            table.present(peer, &started);
                            Task::new(kind, shape).write(folder.path())?;
                            let result = row::measure(
                                &mut started,
                                peer,
                                (kind, shape),
                                folder.path(),
                                options,
                            );
                            // After a fault both start anew.
                            pair = result.is_ok().then_some(started);
                            result
                        }
                    },
                };
                table.add(peer, (kind, shape), result.map_err(|reason| reason.to_string()));
                table.write(options)?;
            }
        }
    }
    print!("{table}");
    Ok(())
}
