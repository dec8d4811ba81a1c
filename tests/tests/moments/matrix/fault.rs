//! What may go wrong, to which part of a pair on this leg; and the point at which it does.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use ::flytt::stage::{Agent, MIGRATION, Server};
use flytt_proto::fuse;

use super::{
    super::{
        DISK_MIB, Holder, Scene,
        flytt::Flytt,
        network::{End, Network, Parted},
        pair::{Pair, Place},
        pause,
        shell::Disk,
        start_again,
    },
    AFTER, Cell, Host, LOOKS_AGAIN, Point, STEPS,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    ControllerKilled,
    ControllerInterrupted,
    ControllerStale,
    SecondController,
    SourceAgentKilled,
    TargetAgentKilled,
    RouterAgentKilled,
    SourceServerKilled,
    TargetServerKilled,
    RouterKilled,
    SourceHostDown,
    TargetHostDown,
    SourceDiskFull,
    TargetDiskFull,
    ControllerFromSource,
    ControllerFromTarget,
    SourceFromTarget,
    SourceFromAll,
    TargetFromAll,
    TargetUnheard,
    ReplyLost,
}

pub(super) const FAULTS: [Fault; 21] = [
    Fault::ControllerKilled,
    Fault::ControllerInterrupted,
    Fault::ControllerStale,
    Fault::SecondController,
    Fault::SourceAgentKilled,
    Fault::TargetAgentKilled,
    Fault::RouterAgentKilled,
    Fault::SourceServerKilled,
    Fault::TargetServerKilled,
    Fault::RouterKilled,
    Fault::SourceHostDown,
    Fault::TargetHostDown,
    Fault::SourceDiskFull,
    Fault::TargetDiskFull,
    Fault::ControllerFromSource,
    Fault::ControllerFromTarget,
    Fault::SourceFromTarget,
    Fault::SourceFromAll,
    Fault::TargetFromAll,
    Fault::TargetUnheard,
    Fault::ReplyLost,
];

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = String::new();
        for (at, letter) in format!("{self:?}").char_indices() {
            if letter.is_uppercase() && at > 0 {
                name.push('-');
            }
            name.extend(letter.to_lowercase());
        }
        f.pad(&name)
    }
}

/// A point at which a part stops until this value is gone.
pub(super) struct Stop {
    directory: PathBuf,
}

impl Stop {
    pub(super) fn at(directory: PathBuf, point: &str) -> Self {
        let _ = std::fs::remove_file(directory.join(fuse::REACHED));
        flytt_proto::durable::write(&directory.join(fuse::FILE), point.as_bytes(), 0o644).unwrap();
        Self { directory }
    }

    /// Gives back the command that came to it. One that only wants the follower to catch up first is tried again.
    pub(super) async fn reached_by(&self, start: impl Fn() -> Flytt, what: &str) -> Flytt {
        let begun = Instant::now();
        let mut command = start();
        while !self.directory.join(fuse::REACHED).exists() {
            if command.has_ended() {
                let ended = command.end().await;
                // A disk that was full a cell ago is looked at again after a while.
                let codes = ended.failures();
                let passes = !codes.is_empty() && codes.iter().all(|code| ["LAG", "NOT_STREAMING"].contains(code));
                let is_late = passes && begun.elapsed() < LOOKS_AGAIN + Duration::from_secs(30);
                assert!(
                    is_late,
                    "{what}: ended before it came to it (is the seam in it? cargo test --workspace --no-run): {ended}"
                );
                pause(500).await;
                command = start();
            }
            assert!(begun.elapsed() < Duration::from_secs(90), "{what}: does not come to it: {}", command.said());
            pause(2).await;
        }
        command
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        for name in [fuse::FILE, fuse::REACHED] {
            let _ = std::fs::remove_file(self.directory.join(name));
        }
    }
}

/// The parts by what they are on this leg.
pub(super) struct Roles<'a> {
    scene: &'a Scene,
    source: (&'a Server, &'a Agent, End),
    target: (&'a Server, &'a Agent, End),
    source_disk: &'a Disk,
    target_disk: &'a Disk,
    network: &'a Network,
}

impl<'a> Roles<'a> {
    pub(super) fn of(pair: &'a Pair) -> Self {
        let (stage, agents) = (&pair.scene.stage, pair.scene.agents());
        let (old, new) = ((&stage.source, &agents.source, End::Source), (&stage.target, &agents.target, End::Target));
        let disk = |side| pair.scene.disk(side);
        let (source, target, from, to) = if pair.at == Place::Following {
            (old, new, Holder::Source, Holder::Target)
        } else {
            (new, old, Holder::Target, Holder::Source)
        };
        let network = pair.scene.network.as_ref().expect("it can be parted");
        Self { scene: &pair.scene, source, target, source_disk: disk(from), target_disk: disk(to), network }
    }

    fn agent(&self, host: Host) -> (&'a Agent, End) {
        match host {
            Host::Source => (self.source.1, self.source.2),
            Host::Target => (self.target.1, self.target.2),
            Host::Router => (&self.scene.agents().router, End::Router),
        }
    }

    pub(super) fn stop(&self, cell: Cell) -> Stop {
        let (_, step, host) = STEPS[cell.step];
        let state = || self.agent(host).0.config.with_file_name("state");
        match cell.point {
            Point::Begun => Stop::at(self.scene.stage.home.clone(), &format!("after journal began {step}")),
            Point::Heard => Stop::at(self.scene.stage.home.clone(), &format!("after journal done {step}")),
            Point::Journalled => Stop::at(state(), &format!("after ledger began {step}")),
            Point::Effected => Stop::at(state(), &format!("before ledger done {step}")),
            Point::Answering => Stop::at(state(), &format!("after ledger done {step}")),
        }
    }

    fn alone(&self, who: End) {
        for other in [End::Controller, End::Source, End::Target, End::Router].into_iter().filter(|other| *other != who) {
            self.network.part(who, other, Parted::Silent);
        }
    }

    pub(super) async fn begin(&self, cell: Cell, command: &Flytt) {
        let how = if cell.step.is_multiple_of(2) { Parted::Silent } else { Parted::Refused };
        let (source, target) = (self.source.2, self.target.2);
        match cell.fault {
            Fault::ControllerKilled => command.kill_if_there(),
            Fault::ControllerInterrupted => command.interrupt(),
            Fault::ControllerStale => command.freeze(),
            Fault::SecondController => {
                let second = self.scene.flytt(&["resume", MIGRATION]).end().await;
                assert_eq!(second.code, Some(9), "{cell}: {second}");
            }
            Fault::SourceAgentKilled => self.source.1.process.kill_hard(),
            Fault::TargetAgentKilled => self.target.1.process.kill_hard(),
            Fault::RouterAgentKilled => self.scene.agents().router.process.kill_hard(),
            Fault::SourceServerKilled => self.source.0.kill_hard(),
            Fault::TargetServerKilled => self.target.0.kill_hard(),
            Fault::RouterKilled => self.scene.stage.proxy.process().kill_hard(),
            Fault::SourceHostDown => self.down(self.source.0, self.source.1),
            Fault::TargetHostDown => self.down(self.target.0, self.target.1),
            Fault::SourceDiskFull => self.source_disk.fill(),
            Fault::TargetDiskFull => self.target_disk.fill(),
            Fault::ControllerFromSource => self.network.part(End::Controller, source, how),
            Fault::ControllerFromTarget => self.network.part(End::Controller, target, how),
            Fault::SourceFromTarget => self.network.part(source, target, how),
            Fault::SourceFromAll => self.alone(source),
            Fault::TargetFromAll => self.alone(target),
            Fault::TargetUnheard => {
                for other in [End::Controller, source, End::Router] {
                    self.network.part_one_way(target, other);
                }
            }
            Fault::ReplyLost => self.network.reset(End::Controller, self.agent(STEPS[cell.step].2).1),
        }
    }

    fn down(&self, server: &Server, agent: &Agent) {
        agent.process.keep_down();
        server.kill_hard();
    }

    /// As a host's own service manager, and whoever mends a cable. What is killed otherwise comes back by itself.
    pub(super) async fn heal(&self, cell: Cell, command: &Flytt) {
        self.network.heal();
        for (disk, fault) in [(self.source_disk, Fault::SourceDiskFull), (self.target_disk, Fault::TargetDiskFull)] {
            if cell.fault == fault {
                disk.free(DISK_MIB);
            }
        }
        if cell.fault == Fault::ControllerStale {
            command.thaw();
        }
        // A server that cannot write may have given up.
        if matches!(cell.fault, Fault::SourceServerKilled | Fault::SourceHostDown | Fault::SourceDiskFull) {
            start_again(self.source.0).await;
        }
        if matches!(cell.fault, Fault::TargetServerKilled | Fault::TargetHostDown | Fault::TargetDiskFull) {
            start_again(self.target.0).await;
        }
        for (agent, fault) in [(self.source.1, Fault::SourceHostDown), (self.target.1, Fault::TargetHostDown)] {
            if cell.fault == fault {
                agent.process.bring_back();
            }
        }
    }
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasts {
    /// What is killed comes back by itself.
    Moment,
    For(Duration),
    /// And longer than any lease.
    UntilServed,
}

pub(super) fn lasts(cell: Cell) -> Lasts {
    match cell.fault {
        Fault::ControllerKilled
        | Fault::ControllerInterrupted
        | Fault::SecondController
        | Fault::SourceAgentKilled
        | Fault::TargetAgentKilled
        | Fault::RouterAgentKilled
        | Fault::RouterKilled
        | Fault::ReplyLost => Lasts::Moment,
        Fault::SourceServerKilled | Fault::TargetServerKilled => Lasts::For(Duration::from_millis(300)),
        Fault::SourceHostDown | Fault::TargetHostDown => Lasts::For(Duration::from_secs(2)),
        Fault::ControllerStale
        | Fault::SourceDiskFull
        | Fault::TargetDiskFull
        | Fault::ControllerFromSource
        | Fault::ControllerFromTarget
        | Fault::SourceFromTarget
        | Fault::SourceFromAll
        | Fault::TargetFromAll
        | Fault::TargetUnheard => {
            if cell.may_wait() {
                Lasts::For(AFTER)
            } else {
                Lasts::UntilServed
            }
        }
    }
}
