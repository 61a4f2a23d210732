//! Allocations and assets as OpenCost's JSON.
//!
//! Invariant: every field that OpenCost writes is there, with its name; what is not a number is
//! null.

use std::collections::BTreeMap;

use obs_cost::{Allocation, Asset, AssetKind, Names, Proportion, Span};
use obs_model::Timestamp;
use serde_json::{Map, Value, json};

use super::Sets;

/// Five digits, as OpenCost.
fn rounded(value: f64) -> Value {
    let rounded = (value * 1e5).round() / 1e5;
    match rounded.is_finite() {
        // There is no negative nothing.
        true => Value::from(rounded + 0.0),
        false => Value::Null,
    }
}

/// A time without parts of seconds.
pub(super) fn time(nanos: i64) -> String {
    let seconds = nanos.div_euclid(1_000_000_000);
    Timestamp::from_seconds(seconds).to_string()
}

/// A window.
pub(super) fn window(span: Span) -> Value {
    json!({"start": time(span.start), "end": time(span.end)})
}

/// Allocations by name.
pub(super) fn set(set: &BTreeMap<String, Allocation>) -> Value {
    let told = set
        .iter()
        .map(|(name, one)| (name.clone(), allocation(one)));
    Value::Object(told.collect())
}

fn names(names: &Names) -> Value {
    let told = names
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    Value::Object(told.collect())
}

/// Who it is about; what is empty is left out.
pub(super) fn properties(one: &Allocation) -> Value {
    let p = &one.properties;
    let mut told = Map::new();
    for (name, value) in [
        ("cluster", &p.cluster),
        ("node", &p.node),
        ("container", &p.container),
        ("controller", &p.controller),
        ("controllerKind", &p.controller_kind),
        ("namespace", &p.namespace),
        ("pod", &p.pod),
        ("providerID", &p.provider_id),
    ] {
        if !value.is_empty() {
            told.insert(name.to_owned(), Value::from(value.as_str()));
        }
    }
    if !p.services.is_empty() {
        told.insert("services".to_owned(), Value::from(p.services.clone()));
    }
    for (name, value) in [
        ("labels", &p.labels),
        ("annotations", &p.annotations),
        ("namespaceLabels", &p.namespace_labels),
        ("namespaceAnnotations", &p.namespace_annotations),
    ] {
        if !value.is_empty() {
            told.insert(name.to_owned(), names(value));
        }
    }
    Value::Object(told)
}

/// All numbers of an allocation by OpenCost's names, as they are.
pub(super) fn numbers(one: &Allocation) -> Vec<(&'static str, f64)> {
    let a = one;
    vec![
        ("minutes", a.hours() * 60.0),
        ("cpuCores", a.mean(a.cpu.hours)),
        ("cpuCoreRequestAverage", a.mean(a.cpu.requested)),
        ("cpuCoreUsageAverage", a.mean(a.cpu.used)),
        ("cpuCoreHours", a.cpu.hours),
        ("cpuCost", a.cpu.cost),
        ("cpuCostAdjustment", 0.0),
        ("cpuCostIdle", 0.0),
        ("cpuEfficiency", a.cpu.efficiency()),
        ("gpuCount", a.mean(a.gpu.hours)),
        ("gpuRequestAverage", a.mean(a.gpu.requested)),
        ("gpuUsageAverage", a.mean(a.gpu.used)),
        ("gpuHours", a.gpu.hours),
        ("gpuCost", a.gpu.cost),
        ("gpuCostAdjustment", 0.0),
        ("gpuCostIdle", 0.0),
        // OpenCost calls it 0 where nothing tells what a GPU does.
        ("gpuEfficiency", a.gpu.efficiency()),
        ("networkTransferBytes", a.sent),
        ("networkReceiveBytes", a.received),
        ("networkCost", a.network_cost()),
        ("networkCrossZoneCost", a.network[0]),
        ("networkCrossRegionCost", a.network[1]),
        ("networkInternetCost", a.network[2]),
        ("networkCostAdjustment", 0.0),
        ("loadBalancerCost", a.balancer_cost()),
        ("loadBalancerCostAdjustment", 0.0),
        ("pvBytes", a.mean(a.volume_byte_hours())),
        ("pvByteHours", a.volume_byte_hours()),
        ("pvCost", a.volume_cost()),
        ("pvCostAdjustment", 0.0),
        ("ramBytes", a.mean(a.ram.hours)),
        ("ramByteRequestAverage", a.mean(a.ram.requested)),
        ("ramByteUsageAverage", a.mean(a.ram.used)),
        ("ramByteHours", a.ram.hours),
        ("ramCost", a.ram.cost),
        ("ramCostAdjustment", 0.0),
        ("ramCostIdle", 0.0),
        ("ramEfficiency", a.ram.efficiency()),
        ("externalCost", 0.0),
        ("sharedCost", a.shared),
        ("totalCost", a.total()),
        ("totalEfficiency", a.efficiency()),
    ]
}

fn allocation(one: &Allocation) -> Value {
    let mut told = Map::new();
    let mut put = |name: &str, value: Value| drop(told.insert(name.to_owned(), value));
    put("name", one.name.as_str().into());
    put("properties", properties(one));
    put("window", window(one.window));
    put("start", time(one.life.start).into());
    put("end", time(one.life.end).into());
    for (name, value) in numbers(one) {
        put(name, rounded(value));
    }
    put("pvs", volumes(one));
    if let Some((cpu, ram)) = one.peak {
        let peaks = json!({"cpuCoreUsageMax": cpu, "ramByteUsageMax": ram});
        put("rawAllocationOnly", peaks);
    }
    put("proportionalAssetResourceCosts", proportions(one));
    put("lbAllocations", balancers(one));
    put("sharedCostBreakdown", breakdown(one));
    Value::Object(told)
}

/// An object, or null where there is nothing in it.
fn or_null(map: Map<String, Value>) -> Value {
    match map.is_empty() {
        true => Value::Null,
        false => Value::Object(map),
    }
}

/// Volumes by cluster and name.
pub(super) fn volumes(one: &Allocation) -> Value {
    let told = one.volumes.iter().map(|((cluster, name), share)| {
        let value = json!({
            "byteHours": share.byte_hours,
            "cost": share.cost,
            "providerID": share.provider_id,
            "adjustment": 0,
        });
        (format!("cluster={cluster}:name={name}"), value)
    });
    or_null(told.collect())
}

/// Load balancers by cluster, namespace and service.
pub(super) fn balancers(one: &Allocation) -> Value {
    let told = one.balancers.iter().map(|(key, share)| {
        let value = json!({
            "service": share.service,
            "cost": share.cost,
            "private": share.private,
            "ip": share.ip,
            "hours": share.hours,
            "adjustment": 0,
        });
        (key.clone(), value)
    });
    or_null(told.collect())
}

fn breakdown(one: &Allocation) -> Value {
    let told = one.shared_breakdown.iter().map(|(name, shared)| {
        let mut value = json!({"name": name, "totalCost": shared.total});
        let fields = [
            "cpuCost",
            "gpuCost",
            "ramCost",
            "pvCost",
            "networkCost",
            "loadBalancerCost",
        ];
        for (field, cost) in fields.iter().zip(shared.parts) {
            if cost != 0.0 {
                value[*field] = cost.into();
            }
        }
        (name.clone(), value)
    });
    or_null(told.collect())
}

fn proportions(one: &Allocation) -> Value {
    let told = one.proportions.iter();
    or_null(
        told.map(|(key, part)| (key.clone(), proportion(part)))
            .collect(),
    )
}

fn proportion(part: &Proportion) -> Value {
    let share = |which: usize| match part.totals[which] > 0.0 {
        true => part.costs[which] / part.totals[which],
        false => 0.0,
    };
    let (paid, all): (f64, f64) = (part.costs.iter().sum(), part.totals.iter().sum());
    let mut told = json!({
        "cluster": part.cluster,
        "cpuPercentage": share(0),
        "ramPercentage": share(1),
        "gpuPercentage": share(2),
        "loadBalancerPercentage": 0,
        "pvPercentage": 0,
        "nodeResourceCostPercentage": if all > 0.0 { paid / all } else { 0.0 },
    });
    if !part.name.is_empty() {
        told["name"] = part.name.as_str().into();
        told["type"] = "Node".into();
        if !part.provider_id.is_empty() {
            told["providerID"] = part.provider_id.as_str().into();
        }
    }
    told
}

/// OpenCost's summaries.
pub(super) fn summaries(sets: &Sets, whole: Span, step: i64) -> Value {
    const TOLD: [&str; 22] = [
        "cpuCoreRequestAverage",
        "cpuCoreUsageAverage",
        "cpuCost",
        "cpuCostIdle",
        "gpuRequestAverage",
        "gpuUsageAverage",
        "gpuCost",
        "gpuCostIdle",
        "networkCost",
        "loadBalancerCost",
        "pvCost",
        "ramByteRequestAverage",
        "ramByteUsageAverage",
        "ramCost",
        "ramCostIdle",
        "sharedCost",
        "externalCost",
        "totalEfficiency",
        "totalCost",
        "cpuEfficiency",
        "gpuEfficiency",
        "ramEfficiency",
    ];
    let told = sets.iter().map(|(span, set)| {
        let all = set.iter().map(|(name, one)| {
            let mut told = json!({
                "name": name, "start": time(one.life.start), "end": time(one.life.end),
            });
            for (name, value) in numbers(one) {
                if TOLD.contains(&name) {
                    told[name] = rounded(value);
                }
            }
            (name.clone(), told)
        });
        let all: Map<String, Value> = all.collect();
        json!({"allocations": all, "window": window(*span)})
    });
    let sets: Vec<Value> = told.collect();
    json!({"step": step, "sets": sets, "window": window(whole)})
}

/// An asset by OpenCost's key.
pub(super) fn asset(asset: &Asset, span: Span) -> (String, Value) {
    let or = |text: &str| match text {
        "" => "__undefined__".to_owned(),
        text => text.to_owned(),
    };
    let key = [
        or(asset.provider()),
        or(""),
        or(""),
        asset.kind.category().to_owned(),
        or(&asset.cluster),
        asset.kind.name().to_owned(),
        "Kubernetes".to_owned(),
        or(&asset.provider_id),
        or(&asset.name),
    ];
    (key.join("/"), told(asset, span))
}

/// An asset.
pub(super) fn told(asset: &Asset, span: Span) -> Value {
    let mut properties = json!({
        "category": asset.kind.category(),
        "service": "Kubernetes",
        "cluster": asset.cluster,
        "name": asset.name,
    });
    for (name, value) in [
        ("provider", asset.provider()),
        ("providerID", asset.provider_id.as_str()),
    ] {
        if !value.is_empty() {
            properties[name] = value.into();
        }
    }
    let labels = asset.labels.iter();
    let labels = labels.map(|(name, value)| (format!("label_{name}"), value.as_str().into()));
    let mut told = json!({
        "type": asset.kind.name(),
        "properties": properties,
        "labels": labels.collect::<Map<String, Value>>(),
        "window": window(span),
        "start": time(asset.life.start),
        "end": time(asset.life.end),
        "minutes": asset.life.hours() * 60.0,
        "adjustment": 0.0,
        "totalCost": asset.total(),
    });
    let more = match asset.kind {
        AssetKind::Node => node(asset),
        AssetKind::Disk => disk(asset),
        AssetKind::LoadBalancer => json!({"private": asset.address.1, "ip": asset.address.0}),
        AssetKind::Network | AssetKind::ClusterManagement => json!({}),
    };
    if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
        told.extend(more);
    }
    told
}

fn node(asset: &Asset) -> Value {
    let hours = asset.life.hours();
    let mean = |amount: f64| if hours > 0.0 { amount / hours } else { 0.0 };
    let [cpu, ram, gpu] = asset.amounts;
    let breakdown = |which: usize| {
        let b = asset.breakdowns[which];
        json!({"idle": b.idle, "other": b.other, "system": b.system, "user": b.user})
    };
    json!({
        "nodeType": asset.class,
        "cpuCores": mean(cpu),
        "ramBytes": mean(ram),
        "cpuCoreHours": cpu,
        "ramByteHours": ram,
        "GPUHours": gpu,
        "cpuBreakdown": breakdown(0),
        "ramBreakdown": breakdown(1),
        "preemptible": if asset.preemptible { 1.0 } else { 0.0 },
        "discount": 0.0,
        "cpuCost": asset.costs[0],
        "gpuCost": asset.costs[2],
        "gpuCount": mean(gpu),
        "ramCost": asset.costs[1],
    })
}

fn disk(asset: &Asset) -> Value {
    let hours = asset.life.hours();
    let bytes = if hours > 0.0 {
        asset.byte_hours / hours
    } else {
        0.0
    };
    let share = match asset.used {
        Some((used, _)) if asset.byte_hours > 0.0 => used / asset.byte_hours,
        _ => 0.0,
    };
    let (namespace, claim) = asset.claim.clone().unwrap_or_default();
    json!({
        "byteHours": asset.byte_hours,
        "bytes": bytes,
        "byteHoursUsed": asset.used.map(|used| used.0),
        "byteUsageMax": asset.used.map(|used| used.1),
        "breakdown": {"idle": 1.0 - share, "other": 0.0, "system": 0.0, "user": share},
        "storageClass": asset.class,
        "volumeName": asset.name,
        "claimName": claim,
        "claimNamespace": namespace,
    })
}
