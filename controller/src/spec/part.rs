//! The parts of a [`Spec`], read one by one, and the rules between their values. Forms and ranges of single values stand in
//! the table of keys.

use std::time::Duration;

use flytt_proto::{gate::Gate, name::HostName};
use toml::{Spanned, de::DeTable};

use super::{
    Canary, Checkpoint, Compress, Cutover, Engine, Fence, Gates, Jobs, Kernel, MistakeCode, Probe, Router, RouterKind, Seed,
    Spec, Transport, Tuning, Way,
    name::{AbsolutePath, MoveName, ServerName, SystemId},
    read::{Placed, Reader, Section},
};

/// Each part first, so that all mistakes are found; the whole only when every part is good.
pub(super) fn spec(reader: &mut Reader, document: &Spanned<DeTable<'_>>, text: &str) -> Option<Spec> {
    let root = reader.root(document);
    let name = reader.parse::<MoveName>(&root, "name");
    let engine = reader.choice(&root, "engine", &Engine::ALL.map(|engine| (engine.name(), engine)));
    let transport = reader.choice(&root, "transport", &[("tunnel", Transport::Tunnel), ("direct", Transport::Direct)]);

    let section = reader.table(&root, "source");
    let source = reader.parse::<HostName>(&section, "host");
    let section = reader.table(&root, "target");
    let target = reader.parse::<HostName>(&section, "host");
    let replace_system = reader.parse::<SystemId>(&section, "replace");
    if let (Some(engine), Some(system)) = (engine, &replace_system) {
        engine.audit_system(reader, system);
    }
    if let (Some(source), Some(target)) = (&source, &target)
        && source.get_ref() == target.get_ref()
    {
        let sentence = format!("source and target are both {}", target.get_ref());
        reader.push(MistakeCode::SpecConflict, target.span(), sentence, "name two different hosts");
    }

    let section = reader.table(&root, "tuning");
    let kernel = reader.choice(&section, "kernel", &[("auto", Kernel::Auto), ("off", Kernel::Off)]);
    let section = reader.table(&root, "seed");
    let seed = seed(reader, &section);
    if let Some(engine) = engine {
        engine.audit(reader, &root, &section);
    }
    let section = reader.table(&root, "gates");
    let gates = gates(reader, &section);
    let section = reader.table(&root, "probe");
    let probe = probe(reader, &section);
    let section = reader.table(&root, "cutover");
    let cutover = cutover(reader, &section);
    let routers = routers(reader, &root);
    let section = reader.table(&root, "canary");
    let canary = if section.exists() { Some(canary(reader, &section)) } else { None };

    Some(Spec {
        name: name?.into_inner().0,
        engine: engine?,
        transport: transport?,
        source: source?.into_inner(),
        target: target?.into_inner(),
        replace_system: replace_system.map(Placed::into_inner),
        tuning: Tuning { kernel: kernel? },
        seed: seed?,
        gates: gates?,
        probe,
        cutover: cutover?,
        routers,
        canary: match canary {
            Some(canary) => Some(canary?),
            None => None,
        },
        text: text.to_owned(),
    })
}

fn seed(reader: &mut Reader, section: &Section<'_>) -> Option<Seed> {
    let way = reader.choice(section, "way", &[("auto", Way::Auto), ("physical", Way::Physical), ("dump", Way::Dump)]);
    let jobs = reader.choice(section, "jobs", &[("auto", Jobs::Auto)]);
    let compress = reader.choice(section, "compress", &[("none", Compress::None)]);
    let max_rate = reader.quantity(section, "max_rate");
    let checkpoint = reader.choice(section, "checkpoint", &[("spread", Checkpoint::Spread), ("fast", Checkpoint::Fast)]);
    Some(Seed { way: way?, jobs: jobs?, compress: compress?, max_rate: max_rate?.into_inner(), checkpoint: checkpoint? })
}

fn gates(reader: &mut Reader, section: &Section<'_>) -> Option<Gates> {
    let lag = duration(reader, section, "lag");
    let lag_bytes = reader.quantity(section, "lag_bytes").and_then(Placed::into_inner);
    let iops_headroom = reader.factor(section, "iops_headroom");
    let await_limit = duration(reader, section, "await");
    let steal = reader.quantity(section, "steal").and_then(Placed::into_inner);
    let block = reader.words(section, "block", &Gate::OF_MACHINES.map(|gate| (gate.key(), gate)));
    Some(Gates {
        lag: lag?.into_inner(),
        lag_bytes: lag_bytes?,
        iops_headroom: iops_headroom?,
        await_limit: await_limit?.into_inner(),
        steal: steal?,
        block: block?,
    })
}

fn probe(reader: &mut Reader, section: &Section<'_>) -> Probe {
    let seconds = reader.count(section, "seconds").and_then(|seconds| u32::try_from(seconds).ok());
    Probe { seconds, file_bytes: reader.quantity(section, "file").and_then(Placed::into_inner) }
}

fn cutover(reader: &mut Reader, section: &Section<'_>) -> Option<Cutover> {
    let max_outage = duration(reader, section, "max_outage");
    let drain = duration(reader, section, "drain");
    let lease = duration(reader, section, "lease");
    let fence = reader.choice(section, "fence", &[("in_place", Fence::InPlace)]);
    let long_transaction = duration(reader, section, "long_transaction");
    let verified = reader.quantity(section, "verified").and_then(Placed::into_inner).map(Duration::from_millis);
    for (name, part) in [("drain", &drain), ("lease", &lease)] {
        if let (Some(part), Some(whole)) = (part, &max_outage)
            && part.get_ref() >= whole.get_ref()
        {
            let sentence = format!("`{name}` ({:?}) is not below `max_outage` ({:?})", part.get_ref(), whole.get_ref());
            let hint = format!("choose a shorter `{name}` or a longer `max_outage`");
            reader.push(MistakeCode::SpecConflict, part.span(), sentence, hint);
        }
    }
    Some(Cutover {
        max_outage: max_outage?.into_inner(),
        drain: drain?.into_inner(),
        lease: lease?.into_inner(),
        fence: fence?,
        long_transaction: long_transaction?.into_inner(),
        verified,
    })
}

fn duration(reader: &mut Reader, section: &Section<'_>, name: &str) -> Option<Placed<Duration>> {
    let value = reader.quantity(section, name)?;
    let span = value.span();
    Some(Spanned::new(span, Duration::from_millis(value.into_inner()?)))
}

fn routers(reader: &mut Reader, root: &Section<'_>) -> Vec<Router> {
    let mut routers = Vec::new();
    let mut seen = Vec::new();
    for section in reader.tables(root, "router") {
        let kind = reader.choice(&section, "kind", &[("haproxy", RouterKind::Haproxy)]);
        let host = reader.parse::<HostName>(&section, "host");
        let backend = reader.parse::<ServerName>(&section, "backend");
        let source = reader.parse::<ServerName>(&section, "source");
        let target = reader.parse::<ServerName>(&section, "target");
        if let (Some(source), Some(target)) = (&source, &target)
            && source.get_ref() == target.get_ref()
        {
            let sentence = format!("source and target are both the server {}", target.get_ref());
            reader.push(MistakeCode::SpecConflict, target.span(), sentence, "name the two servers of the backend");
        }
        let (Some(host), Some(backend)) = (host, backend) else { continue };
        let place = backend.span();
        let (host, backend) = (host.into_inner(), backend.into_inner());
        if seen.contains(&(host.clone(), backend.clone())) {
            let sentence = format!("backend {backend} on {host} stands in two [[router]] tables");
            reader.push(MistakeCode::SpecConflict, place, sentence, "keep one of the two");
        }
        seen.push((host.clone(), backend.clone()));
        if let (Some(kind), Some(source), Some(target)) = (kind, source, target) {
            routers.push(Router { kind, host, backend, source: source.into_inner(), target: target.into_inner() });
        }
    }
    routers
}

fn canary(reader: &mut Reader, section: &Section<'_>) -> Option<Canary> {
    let connection = reader.parse::<AbsolutePath>(section, "connection");
    let clients = reader.count(section, "clients").and_then(|clients| u16::try_from(clients).ok());
    Some(Canary { connection: connection?.into_inner().0, clients: clients? })
}
