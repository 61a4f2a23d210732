//! Pods: who they are, what made them, when they ran.

use std::collections::BTreeMap;

use super::answers::{Answers, Seen, Series, time};
use super::containers::{Around, Draft as ContainerDraft, one_source};
use super::nodes::is_gpu;
use super::{FLOWS, Read};
use crate::cluster::{Controller, Names, Pod};
use crate::span::{Span, Steps};
use crate::usage::Usage;

/// Cluster, namespace and name.
type Key = (String, String, String);

/// What is known of a pod.
struct Draft<'a> {
    pod: Pod,
    seen: Seen,
    address: String,
    host_network: bool,
    start: Option<i64>,
    deletion: Option<i64>,
    /// Whether its phase is one of those that are the last.
    over: Option<bool>,
    /// When it was seen that containers had ended, and when they had.
    completed: Vec<(i64, i64)>,
    containers: BTreeMap<String, ContainerDraft<'a>>,
    sent: Vec<&'a Series>,
    received: Vec<&'a Series>,
    flows: [Vec<&'a Series>; 3],
}

/// Pods by what series call them.
struct Drafts<'a> {
    read: &'a Read,
    all: Vec<Draft<'a>>,
    places: BTreeMap<Key, Vec<usize>>,
}

impl<'a> Drafts<'a> {
    fn key(&self, series: &Series) -> Key {
        let pod = match series.label("pod") {
            "" => series.label("pod_name"),
            name => name,
        };
        let namespace = series.label("namespace").to_owned();
        (self.read.cluster_of(series), namespace, pod.to_owned())
    }

    /// The pods that a series tells of: all of the name where it says no more.
    fn of(&self, series: &Series) -> Vec<usize> {
        let uid = series.label("uid");
        let found = self
            .places
            .get(&self.key(series))
            .map_or(&[][..], Vec::as_slice);
        let fits = |index: &usize| {
            let own = &self.all[*index].pod.uid;
            uid.is_empty() || own.is_empty() || own == uid
        };
        found.iter().copied().filter(fits).collect()
    }

    /// The pod of a series that was seen, made if it is new.
    fn make(&mut self, series: &Series, seen: Seen) -> Option<usize> {
        let key = self.key(series);
        if key.2.is_empty() {
            return None;
        }
        if let Some(index) = self.of(series).first().copied() {
            self.all[index].seen = self.all[index].seen.with(seen);
            return Some(index);
        }
        let index = self.all.len();
        let (cluster, namespace, name) = key.clone();
        self.places.entry(key).or_default().push(index);
        self.all.push(Draft {
            pod: Pod {
                cluster,
                namespace,
                name,
                uid: series.label("uid").to_owned(),
                ..Pod::default()
            },
            seen,
            address: String::new(),
            host_network: false,
            start: None,
            deletion: None,
            over: None,
            completed: Vec::new(),
            containers: BTreeMap::new(),
            sent: Vec::new(),
            received: Vec::new(),
            flows: Default::default(),
        });
        Some(index)
    }

    fn each(&mut self, all: &'a [Series], mut take: impl FnMut(&mut Draft<'a>, &'a Series)) {
        for series in all {
            for index in self.of(series) {
                take(&mut self.all[index], series);
            }
        }
    }
}

impl<'a> Draft<'a> {
    fn container(&mut self, series: &Series) -> Option<&mut ContainerDraft<'a>> {
        let name = series.label("container");
        if name.is_empty() {
            return None;
        }
        let draft = self.containers.entry(name.to_owned()).or_default();
        name.clone_into(&mut draft.container.name);
        Some(draft)
    }
}

/// All pods with their containers.
pub(super) fn pods(read: &Read, answers: &Answers) -> Vec<Pod> {
    let mut drafts = Drafts {
        read,
        all: Vec::new(),
        places: BTreeMap::new(),
    };
    find(&mut drafts, answers);
    tell_times(&mut drafts, answers);
    tell_containers(&mut drafts, answers);
    tell_usage(&mut drafts, answers);
    tell_names(&mut drafts, answers);
    tell_services(&mut drafts, answers);
    let told = !answers.get("started").is_empty();
    let finish = |draft: Draft<'_>| draft.finish(read, told);
    drafts.all.into_iter().map(finish).collect()
}

fn find(drafts: &mut Drafts<'_>, answers: &Answers) {
    for (series, seen) in answers.seen("pods") {
        let Some(index) = drafts.make(&series, seen) else {
            continue;
        };
        let draft = &mut drafts.all[index];
        let labels = [
            (&mut draft.pod.node, "node"),
            (&mut draft.address, "pod_ip"),
            (&mut draft.pod.controller.kind, "created_by_kind"),
            (&mut draft.pod.controller.name, "created_by_name"),
        ];
        for (place, name) in labels {
            if !series.label(name).is_empty() {
                series.label(name).clone_into(place);
            }
        }
        draft.host_network |= series.label("host_network") == "true";
    }
    for (series, seen) in answers.seen("containers") {
        if let Some(index) = drafts.make(&series, seen)
            && let Some(container) = drafts.all[index].container(&series)
        {
            container.container.lives.clear();
        }
    }
    // Without the state of objects, pods are what uses something.
    for series in answers.get("cpu").iter().chain(answers.get("ram")) {
        let (Some(first), Some(last)) = (series.points.first(), series.points.last()) else {
            continue;
        };
        if !drafts.of(series).is_empty() && !answers.get("pods.last").is_empty() {
            continue;
        }
        let seen = Seen {
            first: first.0,
            last: last.0,
            count: series.points.len() as f64,
            unmarked: true,
        };
        if let Some(index) = drafts.make(series, seen)
            && drafts.all[index].pod.node.is_empty()
        {
            series
                .label("node")
                .clone_into(&mut drafts.all[index].pod.node);
        }
    }
}

fn tell_times<'a>(drafts: &mut Drafts<'a>, answers: &'a Answers) {
    drafts.each(answers.get("pod_created"), |draft, series| {
        draft.start = draft.start.or(series.time());
    });
    drafts.each(answers.get("pod_start"), |draft, series| {
        draft.start = series.time().or(draft.start);
    });
    drafts.each(answers.get("pod_deletion"), |draft, series| {
        draft.deletion = series.time();
    });
    drafts.each(answers.get("phase"), |draft, series| {
        let over = matches!(series.label("phase"), "Succeeded" | "Failed");
        match series.value() == 1.0 {
            true => draft.over = Some(over),
            false => draft.over = draft.over.or(Some(false)),
        }
    });
    drafts.each(answers.get("completed"), |draft, series| {
        let told = series.points.iter();
        let told = told.filter_map(|(seen, value)| Some((*seen, time(*value)?)));
        draft.completed.extend(told);
    });
}

fn tell_containers<'a>(drafts: &mut Drafts<'a>, answers: &'a Answers) {
    drafts.each(answers.get("requests"), |draft, series| {
        if draft.pod.node.is_empty() {
            series.label("node").clone_into(&mut draft.pod.node);
        }
        let Some(container) = draft.container(series) else {
            return;
        };
        let value = Steps::constant(series.value());
        match series.label("resource") {
            "cpu" => container.container.cpu_request = value,
            "memory" => container.container.ram_request = value,
            other if is_gpu(other) => container.container.gpu_request = value,
            _ => {}
        }
    });
    drafts.each(answers.get("limits"), |draft, series| {
        let Some(container) = draft.container(series) else {
            return;
        };
        match series.label("resource") {
            "cpu" => container.container.cpu_limit = Some(series.value()),
            "memory" => container.container.ram_limit = Some(series.value()),
            _ => {}
        }
    });
    drafts.each(answers.get("killed"), |draft, series| {
        if let Some(container) = draft.container(series) {
            container.container.killed_for_memory |= series.value() == 1.0;
        }
    });
    let times =
        |series: &Series| -> Vec<i64> { series.points.iter().filter_map(|p| time(p.1)).collect() };
    drafts.each(answers.get("started"), |draft, series| {
        if let Some(container) = draft.container(series) {
            container.started.extend(times(series));
        }
    });
    drafts.each(answers.get("ended"), |draft, series| {
        if let Some(container) = draft.container(series) {
            container.ended.extend(times(series));
        }
    });
    drafts.each(answers.get("terminated"), |draft, series| {
        let over = series.value() == 1.0;
        // Since when it says so without a break.
        let since = series.points.iter().rev().take_while(|p| p.1 == 1.0).last();
        if let Some(container) = draft.container(series) {
            container.terminated = Some((over, since.map_or(i64::MAX, |p| p.0)));
        }
    });
}

fn tell_usage<'a>(drafts: &mut Drafts<'a>, answers: &'a Answers) {
    drafts.each(answers.get("cpu"), |draft, series| {
        if let Some(container) = draft.container(series) {
            container.cpu.push(series);
        }
    });
    drafts.each(answers.get("ram"), |draft, series| {
        if let Some(container) = draft.container(series) {
            container.ram.push(series);
        }
    });
    drafts.each(answers.get("gpu"), |draft, series| {
        if let Some(container) = draft.container(series) {
            container.gpu.push(series);
        }
    });
    drafts.each(answers.get("sent"), |draft, s| draft.sent.push(s));
    drafts.each(answers.get("received"), |draft, s| draft.received.push(s));
    for (which, (name, _)) in FLOWS.iter().enumerate() {
        drafts.each(answers.get(name), |draft, s| draft.flows[which].push(s));
    }
}

fn tell_names<'a>(drafts: &mut Drafts<'a>, answers: &'a Answers) {
    let read = drafts.read;
    let mut owners: BTreeMap<Key, Controller> = BTreeMap::new();
    for (kind, answer) in [
        ("replicaset", "replicaset_owner"),
        ("job_name", "job_owner"),
    ] {
        for series in answers.get(answer) {
            let namespace = series.label("namespace").to_owned();
            let key = (
                read.cluster_of(series),
                namespace,
                format!("{kind}/{}", series.label(kind)),
            );
            let owner = Controller {
                kind: series.label("owner_kind").to_ascii_lowercase(),
                name: series.label("owner_name").to_owned(),
            };
            if !matches!(owner.name.as_str(), "" | "<none>") {
                owners.insert(key, owner);
            }
        }
    }
    drafts.each(answers.get("pod_owner"), |draft, series| {
        if !matches!(series.label("owner_name"), "" | "<none>") {
            series
                .label("owner_kind")
                .clone_into(&mut draft.pod.controller.kind);
            series
                .label("owner_name")
                .clone_into(&mut draft.pod.controller.name);
        }
    });
    let mut of_namespace: BTreeMap<(String, String), [Names; 2]> = BTreeMap::new();
    for (which, name, prefix) in [
        (0, "namespace_labels", "label_"),
        (1, "namespace_annotations", "annotation_"),
    ] {
        for series in answers.get(name) {
            let key = (
                read.cluster_of(series),
                series.label("namespace").to_owned(),
            );
            of_namespace.entry(key).or_default()[which].extend(series.names(prefix));
        }
    }
    for draft in &mut drafts.all {
        settle_controller(&mut draft.pod, &owners);
        let key = (draft.pod.cluster.clone(), draft.pod.namespace.clone());
        if let Some([labels, annotations]) = of_namespace.get(&key) {
            draft.pod.namespace_labels.clone_from(labels);
            draft.pod.namespace_annotations.clone_from(annotations);
            draft.pod.labels.clone_from(labels);
            draft.pod.annotations.clone_from(annotations);
        }
    }
    drafts.each(answers.get("pod_labels"), |draft, series| {
        draft.pod.labels.extend(series.names("label_"));
    });
    drafts.each(answers.get("pod_annotations"), |draft, series| {
        draft.pod.annotations.extend(series.names("annotation_"));
    });
    drafts.each(answers.get("pod_selectors"), |draft, series| {
        draft.pod.node_selector = series.names("nodeselector_");
    });
    drafts.each(answers.get("pod_claims"), |draft, series| {
        let claim = series.label("persistentvolumeclaim").to_owned();
        if !claim.is_empty() && !draft.pod.claims.contains(&claim) {
            draft.pod.claims.push(claim);
        }
    });
}

/// From what made the pod to what people know: deployments, jobs of a schedule, …
fn settle_controller(pod: &mut Pod, owners: &BTreeMap<Key, Controller>) {
    let made = &mut pod.controller;
    made.kind.make_ascii_lowercase();
    if matches!(made.name.as_str(), "" | "<none>") || made.kind == "node" {
        *made = Controller::default();
        return;
    }
    let key = |kind: &str, name: &str| {
        let name = format!("{kind}/{name}");
        (pod.cluster.clone(), pod.namespace.clone(), name)
    };
    match made.kind.as_str() {
        "replicaset" => {
            if let Some(owner) = owners.get(&key("replicaset", &made.name)) {
                *made = owner.clone();
            }
        }
        // A job of a schedule has the schedule's name and a number.
        "job" => match owners.get(&key("job_name", &made.name)) {
            Some(owner) if owner.kind == "cronjob" => made.name.clone_from(&owner.name),
            _ => {
                let parts = made.name.rsplit_once('-');
                let number = |text: &str| {
                    matches!(text.len(), 8 | 10) && text.bytes().all(|b| b.is_ascii_digit())
                };
                if let Some((name, _)) = parts.filter(|parts| number(parts.1)) {
                    made.name = name.to_owned();
                }
            }
        },
        _ => {}
    }
}

fn tell_services<'a>(drafts: &mut Drafts<'a>, answers: &'a Answers) {
    let read = drafts.read;
    let mut found: Vec<(usize, String)> = Vec::new();
    let at = |series: &Series| {
        (
            read.cluster_of(series),
            series.label("namespace").to_owned(),
        )
    };
    for series in answers.get("endpoint") {
        let (place, service) = (at(series), series.label("endpoint"));
        for (index, draft) in drafts.all.iter().enumerate() {
            let pod = &draft.pod;
            let same = (&pod.cluster, &pod.namespace) == (&place.0, &place.1);
            if same && !draft.address.is_empty() && draft.address == series.label("ip") {
                found.push((index, service.to_owned()));
            }
        }
    }
    let mut names: BTreeMap<Key, String> = BTreeMap::new();
    for series in answers.get("slice_labels") {
        let (cluster, namespace) = at(series);
        let service = series.label("label_kubernetes_io_service_name").to_owned();
        let slice = series.label("endpointslice").to_owned();
        names.insert((cluster, namespace, slice), service);
    }
    for series in answers.get("slice") {
        let (cluster, namespace) = at(series);
        let slice = series.label("endpointslice").to_owned();
        // A slice is called as its service, with five letters behind.
        let guess = slice
            .rsplit_once('-')
            .map_or("", |parts| parts.0)
            .to_owned();
        let key = (cluster.clone(), namespace.clone(), slice);
        let service = names
            .get(&key)
            .filter(|s| !s.is_empty())
            .cloned()
            .unwrap_or(guess);
        let pod = (
            cluster,
            namespace,
            series.label("targetref_name").to_owned(),
        );
        let pods = drafts.places.get(&pod).map_or(&[][..], Vec::as_slice);
        found.extend(pods.iter().map(|index| (*index, service.clone())));
    }
    for series in answers.get("selectors") {
        let (cluster, namespace) = at(series);
        let wanted = series.names("label_");
        let service = series.label("service").to_owned();
        for (index, draft) in drafts.all.iter().enumerate() {
            let pod = &draft.pod;
            let here = pod.cluster == cluster && pod.namespace == namespace;
            let fits = wanted
                .iter()
                .all(|(name, value)| pod.labels.get(name) == Some(value));
            if here && fits && !wanted.is_empty() {
                found.push((index, service.clone()));
            }
        }
    }
    for (index, service) in found {
        let services = &mut drafts.all[index].pod.services;
        if !service.is_empty() && !services.contains(&service) {
            services.push(service);
        }
    }
}

impl Draft<'_> {
    fn finish(mut self, read: &Read, starts_are_told: bool) -> Pod {
        self.completed.sort_unstable();
        let start = self.start.unwrap_or_else(|| {
            let started = self
                .containers
                .values()
                .flat_map(|c| c.started.iter().copied());
            started
                .min()
                .map_or(self.seen.first, |at| at.min(self.seen.first))
        });
        let end = self.end(read, start);
        self.pod.life = Span::new(start, end);
        let around = Around {
            life: self.pod.life,
            completed: &self.completed,
            starts_are_told,
        };
        let containers = std::mem::take(&mut self.containers).into_values();
        self.pod.containers = containers.map(|draft| draft.finish(around)).collect();
        let lives = [self.pod.life];
        let bytes = |series: &[&Series]| {
            let chosen = one_source(series, &["interface", "id", "name", "image"]);
            let parts = chosen.iter().map(|s| Usage::of_counter(&s.points, &lives));
            Usage::sum(&parts.collect::<Vec<_>>())
        };
        if !self.host_network {
            self.pod.sent = bytes(&self.sent);
            self.pod.received = bytes(&self.received);
        }
        let paid = |series: &[&Series]| {
            let parts = series.iter().map(|s| Usage::of_counter(&s.points, &lives));
            Usage::sum(&parts.collect::<Vec<_>>())
        };
        let [zone, region, internet] = self.flows.each_ref().map(|series| paid(series));
        self.pod.flow = crate::cluster::Flow {
            zone,
            region,
            internet,
        };
        self.pod
    }

    fn end(&self, read: &Read, start: i64) -> i64 {
        let last = self.completed.last().map(|(_, end)| *end);
        let last = last.filter(|end| *end >= start);
        let containers = || self.containers.values();
        let over = self.over.unwrap_or_else(|| {
            let known = containers().any(|c| c.terminated.is_some());
            match known {
                true => containers().all(|c| c.terminated.is_some_and(|t| t.0)),
                false => containers()
                    .flat_map(|c| &c.started)
                    .all(|at| Some(*at) <= last),
            }
        });
        if let Some(end) = last.filter(|_| over) {
            return end;
        }
        let gone = read.gone(&self.seen, self.deletion);
        gone.unwrap_or_else(|| read.end()).max(start)
    }
}
