//! A contestant as a process of its own, so that a fault ends a row and not the run.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{self, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use contestant::{Kind, Result, Shape, THREADS};

/// How long a contestant may take to start; Python takes seconds to import, from a cold disk longer.
const START: Duration = Duration::from_secs(120);

pub struct Child {
    process: process::Child,
    requests: ChildStdin,
    answers: Receiver<String>,
    /// What it says of itself.
    pub about: String,
}

impl Child {
    /// Starts a program and waits for its first answer.
    pub fn start(program: &Path, arguments: &[&OsStr]) -> Result<Child> {
        let threads = THREADS.to_string();
        let mut process = Command::new(program)
            .args(arguments)
            .env("RAYON_NUM_THREADS", &threads)
            .env("OMP_NUM_THREADS", &threads)
            // Of Mesa's software driver.
            .env("LP_NUM_THREADS", &threads)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let requests = process.stdin.take().ok_or("no standard input")?;
        let output = BufReader::new(process.stdout.take().ok_or("no standard output")?);
        let (sender, answers) = channel();
        // The thread ends with the process, whose output it reads.
        std::thread::spawn(move || {
            for line in output.lines().map_while(std::io::Result::ok) {
                if let Some(answer) = line.strip_prefix("= ")
                    && sender.send(answer.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        let mut child = Child { process, requests, answers, about: String::new() };
        let answer = child.answer(START)?;
        match answer.split_once(' ') {
            Some(("hello", about)) => about.clone_into(&mut child.about),
            Some(("missing", reason)) => return Err(reason.into()),
            _ => return Err(format!("it began with {answer}").into()),
        }
        Ok(child)
    }

    pub fn load(&mut self, kind: Kind, shape: Shape, folder: &Path, limit: Duration) -> Result<()> {
        self.ask(&format!("load {kind} {shape} {}", folder.display()), limit).map(|_| ())
    }

    /// Computes once and returns what [`contestant::Task::results`] names.
    pub fn check(&mut self, file: &Path, limit: Duration) -> Result<Vec<f32>> {
        self.ask(&format!("check {}", file.display()), limit)?;
        contestant::read_numbers(file)
    }

    /// Computes so many times and returns the seconds.
    pub fn go(&mut self, times: usize, limit: Duration) -> Result<f64> {
        let answer = self.ask(&format!("go {times}"), limit)?;
        let seconds = answer.strip_prefix("took ").ok_or("it didn't say how long it took")?;
        Ok(seconds.parse()?)
    }

    fn ask(&mut self, request: &str, limit: Duration) -> Result<String> {
        // Of one that has ended, the answer tells.
        let _ = writeln!(self.requests, "{request}").and_then(|()| self.requests.flush());
        let answer = self.answer(limit)?;
        match answer.strip_prefix("error ") {
            Some(reason) => Err(reason.into()),
            None => Ok(answer),
        }
    }

    fn answer(&mut self, limit: Duration) -> Result<String> {
        self.answers.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("no answer in {} s", limit.as_secs_f64()).into(),
            RecvTimeoutError::Disconnected => "it ended without an answer".into(),
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may be in the middle of something, and one that has ended is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
