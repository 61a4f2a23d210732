//! Volumes, their claims, storage classes and attachments.

use serde_json::Value;

use super::container::quantity;
use super::family::{Rule, alpha, annotations, created, deletion, labels, stable};
use super::object::{at, flag, integer_text, text, text_if, texts};
use super::resource::{NAMESPACE, Resource, clustered, namespaced};
use super::rows::Rows;

pub(super) const VOLUMES: Resource = clustered(
    "persistentvolumes",
    ("", "v1", "PersistentVolume"),
    &[("persistentvolume", "metadata.name")],
    &[
        stable(
            "kube_persistentvolume_claim_ref",
            "The claim that a volume belongs to.",
            Rule::Of(claim_ref),
        ),
        annotations("kube_persistentvolume_annotations"),
        labels("kube_persistentvolume_labels"),
        stable(
            "kube_persistentvolume_status_phase",
            "The phase of a volume.",
            Rule::State(
                "status.phase",
                "phase",
                &["Pending", "Available", "Bound", "Released", "Failed"],
            ),
        ),
        stable(
            "kube_persistentvolume_info",
            "A volume and where it is.",
            Rule::Of(volume_info),
        ),
        stable(
            "kube_persistentvolume_capacity_bytes",
            "Size of a volume in bytes.",
            Rule::Of(|object, rows| {
                let size = quantity(at(object, "spec.capacity.storage"));
                rows.put(&[], size.map_or(0.0, |size| size.whole()));
            }),
        ),
        created("kube_persistentvolume_created").unstable(),
        deletion("kube_persistentvolume_deletion_timestamp"),
        alpha(
            "kube_persistentvolume_csi_attributes",
            "Attributes that a volume's driver gave it.",
            Rule::Of(|object, rows| {
                let driver = at(object, "spec.csi");
                if driver.is_object() {
                    let labels = [
                        ("csi_mounter", text(driver, "volumeAttributes.mounter")),
                        (
                            "csi_map_options",
                            text(driver, "volumeAttributes.mapOptions"),
                        ),
                    ];
                    rows.put(&labels, 1.0);
                }
            }),
        )
        .opted_in(),
        alpha(
            "kube_persistentvolume_volume_mode",
            "Whether a volume is a file system or a block device.",
            Rule::Of(|object, rows| {
                let mode = text_if(object, "spec.volumeMode").unwrap_or("Filesystem");
                rows.put(&[("volumemode", mode)], 1.0);
            }),
        ),
        alpha(
            "kube_persistentvolume_access_mode",
            "How a volume can be mounted.",
            Rule::EachText("spec.accessModes", "access_mode"),
        ),
    ],
);

fn claim_ref(object: &Value, rows: &mut Rows) {
    let claim = at(object, "spec.claimRef");
    if claim.is_object() {
        let labels = [
            ("name", text(claim, "name")),
            ("claim_namespace", text(claim, "namespace")),
        ];
        rows.put(&labels, 1.0);
    }
}

/// Sources of a volume in the order in which the first that is there counts, with their labels.
const SOURCES: [(&str, &[(&str, &str)]); 9] = [
    (
        "gcePersistentDisk",
        &[("gce_persistent_disk_name", "pdName")],
    ),
    ("awsElasticBlockStore", &[("ebs_volume_id", "volumeID")]),
    ("azureDisk", &[("azure_disk_name", "diskName")]),
    (
        "fc",
        &[
            ("fc_wwids", "wwids"),
            ("fc_lun", "lun"),
            ("fc_target_wwns", "targetWWNs"),
        ],
    ),
    (
        "iscsi",
        &[
            ("iscsi_target_portal", "targetPortal"),
            ("iscsi_iqn", "iqn"),
            ("iscsi_lun", "lun"),
            ("iscsi_initiator_name", "initiatorName"),
        ],
    ),
    ("nfs", &[("nfs_server", "server"), ("nfs_path", "path")]),
    (
        "csi",
        &[
            ("csi_driver", "driver"),
            ("csi_volume_handle", "volumeHandle"),
        ],
    ),
    ("local", &[("local_path", "path"), ("local_fs", "fsType")]),
    (
        "hostPath",
        &[("host_path", "path"), ("host_path_type", "type")],
    ),
];

fn volume_info(object: &Value, rows: &mut Rows) {
    let spec = at(object, "spec");
    let source = SOURCES.iter().find(|(name, _)| at(spec, name).is_object());
    let mut labels = vec![("storageclass", text(spec, "storageClassName").to_owned())];
    for (name, fields) in SOURCES {
        let is = source.is_some_and(|(found, _)| *found == name);
        for (label, path) in fields {
            let value = if is {
                told(at(spec, name), path)
            } else {
                String::new()
            };
            labels.push((label, value));
        }
    }
    let policy = text(spec, "persistentVolumeReclaimPolicy").to_owned();
    labels.push(("reclaim_policy", policy));
    let labels: Vec<_> = labels
        .iter()
        .map(|(label, value)| (*label, value.as_str()))
        .collect();
    rows.put(&labels, 1.0);
}

/// A text, a number, or texts with commas between.
fn told(source: &Value, path: &str) -> String {
    match at(source, path) {
        Value::Array(_) => texts(source, path).collect::<Vec<_>>().join(","),
        Value::Number(_) => integer_text(source, path).unwrap_or_default(),
        // The only number that is told where the API leaves out a zero.
        Value::Null if path == "lun" && at(source, "iqn").is_string() => "0".to_owned(),
        _ => text(source, path).to_owned(),
    }
}

pub(super) const CLAIMS: Resource = namespaced(
    "persistentvolumeclaims",
    ("", "v1", "PersistentVolumeClaim"),
    &[NAMESPACE, ("persistentvolumeclaim", "metadata.name")],
    &[
        labels("kube_persistentvolumeclaim_labels"),
        annotations("kube_persistentvolumeclaim_annotations"),
        stable(
            "kube_persistentvolumeclaim_info",
            "A claim, its class and its volume.",
            Rule::Of(claim_info),
        ),
        stable(
            "kube_persistentvolumeclaim_status_phase",
            "The phase of a claim.",
            Rule::State("status.phase", "phase", &["Lost", "Bound", "Pending"]),
        ),
        stable(
            "kube_persistentvolumeclaim_resource_requests_storage_bytes",
            "What a claim asks for in bytes.",
            Rule::Of(|object, rows| {
                let size = quantity(at(object, "spec.resources.requests.storage"));
                if let Some(size) = size {
                    rows.put(&[], size.whole());
                }
            }),
        ),
        stable(
            "kube_persistentvolumeclaim_access_mode",
            "How a claim wants its volume mounted.",
            Rule::EachText("spec.accessModes", "access_mode"),
        ),
        alpha(
            "kube_persistentvolumeclaim_status_condition",
            "Conditions of a claim.",
            Rule::Conditions,
        ),
        created("kube_persistentvolumeclaim_created").unstable(),
        deletion("kube_persistentvolumeclaim_deletion_timestamp"),
    ],
);

fn claim_info(object: &Value, rows: &mut Rows) {
    let annotations = at(object, "metadata.annotations");
    let beta = annotations.get("volume.beta.kubernetes.io/storage-class");
    let class = beta.and_then(Value::as_str);
    let labels = [
        (
            "storageclass",
            class.unwrap_or(text(object, "spec.storageClassName")),
        ),
        ("volumename", text(object, "spec.volumeName")),
        ("volumemode", text(object, "spec.volumeMode")),
    ];
    rows.put(&labels, 1.0);
}

pub(super) const CLASSES: Resource = clustered(
    "storageclasses",
    ("storage.k8s.io", "v1", "StorageClass"),
    &[("storageclass", "metadata.name")],
    &[
        stable(
            "kube_storageclass_info",
            "A storage class and its provisioner.",
            Rule::Of(|object, rows| {
                let labels = [
                    ("provisioner", text(object, "provisioner")),
                    (
                        "reclaim_policy",
                        text_if(object, "reclaimPolicy").unwrap_or("Delete"),
                    ),
                    (
                        "volume_binding_mode",
                        text_if(object, "volumeBindingMode").unwrap_or("Immediate"),
                    ),
                ];
                rows.put(&labels, 1.0);
            }),
        ),
        created("kube_storageclass_created"),
        annotations("kube_storageclass_annotations"),
        labels("kube_storageclass_labels"),
    ],
);

pub(super) const ATTACHMENTS: Resource = clustered(
    "volumeattachments",
    ("storage.k8s.io", "v1", "VolumeAttachment"),
    &[("volumeattachment", "metadata.name")],
    &[
        alpha(
            "kube_volumeattachment_labels",
            "Labels of an attachment as labels of the metric.",
            Rule::AllOf("metadata.labels", "label"),
        ),
        alpha(
            "kube_volumeattachment_info",
            "An attachment, what makes it and its node.",
            Rule::Info(&[("attacher", "spec.attacher"), ("node", "spec.nodeName")]),
        ),
        created("kube_volumeattachment_created").unstable(),
        alpha(
            "kube_volumeattachment_spec_source_persistentvolume",
            "The volume that is attached.",
            Rule::Of(|object, rows| {
                if let Some(name) = text_if(object, "spec.source.persistentVolumeName") {
                    rows.put(&[("volumename", name)], 1.0);
                }
            }),
        ),
        alpha(
            "kube_volumeattachment_status_attached",
            "Whether a volume is attached.",
            Rule::Of(|object, rows| rows.put(&[], f64::from(flag(object, "status.attached")))),
        ),
        alpha(
            "kube_volumeattachment_status_attachment_metadata",
            "What the attacher says of an attachment.",
            Rule::AllOf("status.attachmentMetadata", "metadata"),
        ),
    ],
);
