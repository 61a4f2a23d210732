//! What objects become, role by role, against what Prometheus makes of the same objects.

use serde_json::{Value, json};

use super::build;
use super::world::{Change, World};
use super::{Attach, Config, Role, RoleSelector};
use crate::client::Access;
use crate::object::Key;
use crate::watch::Event;

const ALL: Attach = Attach {
    node: true,
    namespace: true,
    deployment: true,
    job: true,
    cronjob: true,
};

fn read<T: serde::de::DeserializeOwned>(object: &Value) -> Event<T> {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    let key = Key::new(text("namespace"), text("name"));
    Event::Put(key, serde_json::from_value(object.clone()).unwrap())
}

/// Puts an object into a world, by its kind.
fn put(world: &mut World, object: &Value) {
    let change = match object["kind"].as_str().unwrap() {
        "Node" => Change::Node(read(object)),
        "Namespace" => Change::Namespace(read(object)),
        "Service" => Change::Service(read(object)),
        "Pod" => Change::Pod(read(object)),
        "Endpoints" => Change::Endpoints(read(object)),
        "EndpointSlice" => Change::Slice(read(object)),
        "Ingress" => Change::Ingress(read(object)),
        "ReplicaSet" => Change::ReplicaSet(read(object)),
        "Job" => Change::Job(read(object)),
        other => panic!("{other}"),
    };
    world.take(0, change);
}

fn world(role: Role, attach: Attach) -> World {
    let mut world = World::new(role, attach);
    world.nodes.add_watch();
    world.namespaces.add_watch();
    world.services.add_watch();
    world.pods.add_watch();
    world.endpoints.add_watch();
    world.slices.add_watch();
    world.ingresses.add_watch();
    world.replica_sets.add_watch();
    world.jobs.add_watch();
    world
}

/// Builds all groups that are due and prints them, without the labels' common beginning.
fn print(world: &mut World) -> Vec<String> {
    let mut lines = Vec::new();
    let short = |labels: &obs_model::Labels| -> String {
        let pairs = labels
            .iter()
            .map(|(n, v)| format!("{}={v}", n.strip_prefix("__meta_kubernetes_").unwrap_or(n)));
        pairs.collect::<Vec<_>>().join(" ")
    };
    for key in world.drain_dirty() {
        let Some(group) = build::group(world, &key) else {
            lines.push("nothing".to_owned());
            continue;
        };
        lines.push(format!("[{}] {}", group.source, short(&group.labels)));
        lines.extend(
            group
                .targets
                .iter()
                .map(|target| format!("  {}", short(target))),
        );
    }
    lines
}

fn check(role: Role, attach: Attach, objects: &[Value], expect: &[&str]) {
    let mut world = world(role, attach);
    for object in objects {
        put(&mut world, object);
    }
    let lines = print(&mut world);
    assert_eq!(lines, expect, "{}", lines.join("\n"));
}

fn node() -> Value {
    json!({"kind": "Node", "metadata": {"name": "n1", "labels": {"zone.io/a-b": "z"}},
        "spec": {"providerID": "aws:///i-1"},
        "status": {"addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.1"},
            {"type": "InternalIP", "address": "fd00::1"}],
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "Unknown"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}})
}

fn namespace() -> Value {
    json!({"kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "a"}, "annotations": {"x/y": "z"}}})
}

fn pod() -> Value {
    json!({"kind": "Pod", "metadata": {"namespace": "shop", "name": "web-1", "uid": "u1",
            "labels": {"app": "web"}, "annotations": {"prometheus.io/scrape": "true"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d9", "uid": "r", "controller": true}]},
        "spec": {"nodeName": "n1",
            "initContainers": [{"name": "init", "image": "i"}],
            "containers": [{"name": "web", "image": "w:1", "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"},
                {"containerPort": 9100, "protocol": "TCP"}]}, {"name": "side", "image": "s"}]},
        "status": {"phase": "Running", "podIP": "10.1.0.1", "hostIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "web", "containerID": "containerd://abc"}]}})
}

const POD: &str =
    "pod_annotation_prometheus_io_scrape=true pod_annotationpresent_prometheus_io_scrape=true";
const POD_AFTER: &str = "pod_controller_kind=ReplicaSet pod_controller_name=web-5d9";
const POD_REST: &str = "pod_host_ip=10.0.0.1 pod_ip=10.1.0.1 pod_label_app=web pod_labelpresent_app=true pod_name=web-1 pod_node_name=n1 pod_phase=Running pod_ready=true pod_uid=u1";

#[test]
fn nodes() {
    let expect = [
        "[node/n1] node_condition_diskpressure=unknown node_condition_ready=true node_label_zone_io_a_b=z node_labelpresent_zone_io_a_b=true node_name=n1 node_provider_id=aws:///i-1",
        "  __address__=10.0.0.1:10250 node_address_Hostname=n1 node_address_InternalIP=10.0.0.1 instance=n1",
    ];
    let mut world = world(Role::Node, Attach::default());
    put(&mut world, &node());
    assert_eq!(print(&mut world), expect);
    // Without an address the group before stays.
    let mut bare = node();
    bare["status"]["addresses"] = json!([]);
    put(&mut world, &bare);
    assert_eq!(print(&mut world), ["nothing"]);
    let mut v6 = node();
    v6["status"]["addresses"] = json!([{"type": "ExternalIP", "address": "fd00::1"}]);
    put(&mut world, &v6);
    assert_eq!(
        print(&mut world)[1],
        "  __address__=[fd00::1]:10250 node_address_ExternalIP=fd00::1 instance=n1"
    );
}

#[test]
fn pods() {
    check(
        Role::Pod,
        Attach::default(),
        &[pod()],
        &[
            &format!("[pod/shop/web-1] namespace=shop {POD} {POD_AFTER} {POD_REST}"),
            "  __address__=10.1.0.1:80 pod_container_id=containerd://abc pod_container_image=w:1 pod_container_init=false pod_container_name=web pod_container_port_name=http pod_container_port_number=80 pod_container_port_protocol=TCP",
            "  __address__=10.1.0.1:9100 pod_container_id=containerd://abc pod_container_image=w:1 pod_container_init=false pod_container_name=web pod_container_port_number=9100 pod_container_port_protocol=TCP",
            "  __address__=10.1.0.1 pod_container_image=s pod_container_init=false pod_container_name=side",
            "  __address__=10.1.0.1 pod_container_image=i pod_container_init=true pod_container_name=init",
        ],
    );
    let mut starting = pod();
    starting["status"] = json!({"phase": "Pending"});
    check(
        Role::Pod,
        Attach::default(),
        &[starting],
        &["[pod/shop/web-1] "],
    );
}

#[test]
fn pods_with_everything_attached() {
    let replica_set = json!({"kind": "ReplicaSet", "metadata": {"namespace": "shop", "name": "web-5d9",
        "ownerReferences": [{"kind": "Deployment", "name": "web", "uid": "d", "controller": true}]}});
    let mut world = world(Role::Pod, ALL);
    put(&mut world, &pod());
    // Pods of nodes that are not known are not targets.
    assert_eq!(print(&mut world), ["[pod/shop/web-1] "]);
    for object in [node(), namespace(), replica_set] {
        put(&mut world, &object);
    }
    let lines = print(&mut world);
    assert_eq!(
        lines[0],
        format!(
            "[pod/shop/web-1] namespace=shop namespace_annotation_x_y=z namespace_annotationpresent_x_y=true namespace_label_team=a namespace_labelpresent_team=true node_label_zone_io_a_b=z node_labelpresent_zone_io_a_b=true node_name=n1 {POD} {POD_AFTER} pod_deployment_name=web {POD_REST}"
        )
    );
    assert_eq!(lines.len(), 5);
    let job = json!({"kind": "Job", "metadata": {"namespace": "shop", "name": "tidy-1",
        "ownerReferences": [{"kind": "CronJob", "name": "tidy", "uid": "c", "controller": true}]}});
    let mut of_job = pod();
    of_job["metadata"]["ownerReferences"] =
        json!([{"kind": "Job", "name": "tidy-1", "uid": "j", "controller": true}]);
    put(&mut world, &of_job);
    put(&mut world, &job);
    let lines = print(&mut world);
    assert!(lines[0].contains("pod_controller_kind=Job pod_controller_name=tidy-1 pod_cronjob_name=tidy pod_host_ip=10.0.0.1 pod_ip=10.1.0.1 pod_job_name=tidy-1"), "{}", lines[0]);
}

#[test]
fn services() {
    let service = |kind: &str, more: Value| {
        let mut object = json!({"kind": "Service", "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"type": kind, "clusterIP": "10.2.0.1", "externalName": "e.example.com", "loadBalancerIP": "1.2.3.4",
                "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}});
        object["status"] = more;
        object
    };
    let group = "[svc/shop/web] namespace=shop service_name=web";
    let target = "  __address__=web.shop.svc:80";
    let ports = "service_port_name=http service_port_number=80 service_port_protocol=TCP";
    check(
        Role::Service,
        Attach::default(),
        &[service("ClusterIP", json!({}))],
        &[
            group,
            &format!("{target} service_cluster_ip=10.2.0.1 {ports} service_type=ClusterIP"),
        ],
    );
    check(
        Role::Service,
        Attach::default(),
        &[service("ExternalName", json!({}))],
        &[
            group,
            &format!(
                "{target} service_external_name=e.example.com {ports} service_type=ExternalName"
            ),
        ],
    );
    check(
        Role::Service,
        Attach::default(),
        &[service(
            "LoadBalancer",
            json!({"loadBalancer": {"ingress": [{"ip": "5.6.7.8"}, {"hostname": "h"}, {"ip": "5.6.7.9"}]}}),
        )],
        &[
            group,
            &format!(
                "{target} service_cluster_ip=10.2.0.1 service_loadbalancer_ip=5.6.7.8,5.6.7.9 {ports} service_type=LoadBalancer"
            ),
        ],
    );
    check(
        Role::Service,
        Attach::default(),
        &[service("LoadBalancer", json!({}))],
        &[
            group,
            &format!(
                "{target} service_cluster_ip=10.2.0.1 service_loadbalancer_ip=1.2.3.4 {ports} service_type=LoadBalancer"
            ),
        ],
    );
}

fn service() -> Value {
    json!({"kind": "Service", "metadata": {"namespace": "shop", "name": "web", "labels": {"tier": "front"}},
        "spec": {"ports": [{"port": 80}]}})
}

#[test]
fn endpoints() {
    let object = json!({"kind": "Endpoints", "metadata": {"namespace": "shop", "name": "web", "labels": {"e": "1"}},
        "subsets": [{"addresses": [{"ip": "10.1.0.1", "nodeName": "n1", "targetRef": {"kind": "Pod", "namespace": "shop", "name": "web-1"}}],
            "notReadyAddresses": [{"ip": "10.9.0.1", "hostname": "outside"}],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]});
    let group = "[endpoints/shop/web] endpoints_label_e=1 endpoints_labelpresent_e=true endpoints_name=web namespace=shop service_label_tier=front service_labelpresent_tier=true service_name=web";
    let pod_port = "pod_container_image=w:1 pod_container_init=false pod_container_name=web";
    check(
        Role::Endpoints,
        Attach::default(),
        &[object, service(), pod()],
        &[
            group,
            &format!(
                "  __address__=10.1.0.1:80 endpoint_address_target_kind=Pod endpoint_address_target_name=web-1 endpoint_node_name=n1 endpoint_port_name=http endpoint_port_protocol=TCP endpoint_ready=true {POD} {pod_port} pod_container_port_name=http pod_container_port_number=80 pod_container_port_protocol=TCP {POD_AFTER} {POD_REST}"
            ),
            "  __address__=10.9.0.1:80 endpoint_hostname=outside endpoint_port_name=http endpoint_port_protocol=TCP endpoint_ready=false",
            &format!(
                "  __address__=10.1.0.1:9100 {POD} {pod_port} pod_container_port_number=9100 pod_container_port_protocol=TCP {POD_AFTER} {POD_REST}"
            ),
        ],
    );
}

#[test]
fn endpoint_slices() {
    let object = |family: &str| {
        json!({"kind": "EndpointSlice",
        "metadata": {"namespace": "shop", "name": "web-x", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": family,
        "endpoints": [{"addresses": ["10.1.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": "n1", "zone": "z1", "targetRef": {"kind": "Pod", "namespace": "shop", "name": "web-1"}},
            {"addresses": ["10.9.0.1"], "hostname": "h", "deprecatedTopology": {"a/b": "c"}}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "h2c"}]})
    };
    let group = |family: &str| {
        format!(
            "[endpointslice/shop/web-x] endpointslice_address_type={family} endpointslice_label_kubernetes_io_service_name=web endpointslice_labelpresent_kubernetes_io_service_name=true endpointslice_name=web-x namespace=shop service_label_tier=front service_labelpresent_tier=true service_name=web"
        )
    };
    let port = "endpointslice_port=80 endpointslice_port_app_protocol=h2c endpointslice_port_name=http endpointslice_port_protocol=TCP";
    let pod_port = "pod_container_image=w:1 pod_container_init=false pod_container_name=web";
    check(
        Role::EndpointSlice,
        Attach {
            node: true,
            ..Attach::default()
        },
        &[object("IPv4"), service(), pod(), node()],
        &[
            &group("IPv4"),
            &format!(
                "  __address__=10.1.0.1:80 endpointslice_address_target_kind=Pod endpointslice_address_target_name=web-1 endpointslice_endpoint_conditions_ready=true endpointslice_endpoint_conditions_serving=true endpointslice_endpoint_conditions_terminating=false endpointslice_endpoint_node_name=n1 endpointslice_endpoint_zone=z1 {port} node_label_zone_io_a_b=z node_labelpresent_zone_io_a_b=true node_name=n1 {POD} {pod_port} pod_container_port_name=http pod_container_port_number=80 pod_container_port_protocol=TCP {POD_AFTER} {POD_REST}"
            ),
            &format!(
                "  __address__=10.9.0.1:80 endpointslice_endpoint_hostname=h endpointslice_endpoint_topology_a_b=c endpointslice_endpoint_topology_present_a_b=true {port}"
            ),
            &format!(
                "  __address__=10.1.0.1:9100 {POD} {pod_port} pod_container_port_number=9100 pod_container_port_protocol=TCP {POD_AFTER} {POD_REST}"
            ),
        ],
    );
    let mut dual = service();
    dual["spec"]["ipFamilyPolicy"] = json!("PreferDualStack");
    dual["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
    check(
        Role::EndpointSlice,
        Attach::default(),
        &[object("IPv6"), dual],
        &[&group("IPv6")],
    );
}

#[test]
fn ingresses() {
    let object = json!({"kind": "Ingress", "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"ingressClassName": "nginx", "tls": [{"hosts": ["*.example.com"]}],
            "rules": [{"host": "a.example.com", "http": {"paths": [{"path": "/x"}, {}]}}, {"host": "b.org"}]}});
    check(
        Role::Ingress,
        Attach {
            namespace: true,
            ..Attach::default()
        },
        &[object, namespace()],
        &[
            "[ingress/shop/web] ingress_class_name=nginx ingress_name=web namespace=shop namespace_annotation_x_y=z namespace_annotationpresent_x_y=true namespace_label_team=a namespace_labelpresent_team=true",
            "  __address__=a.example.com ingress_host=a.example.com ingress_path=/x ingress_scheme=https",
            "  __address__=a.example.com ingress_host=a.example.com ingress_path=/ ingress_scheme=https",
            "  __address__=b.org ingress_host=b.org ingress_path=/ ingress_scheme=http",
        ],
    );
}

#[test]
fn only_what_changed_is_built_again() {
    let mut world = world(
        Role::Pod,
        Attach {
            node: true,
            ..Attach::default()
        },
    );
    put(&mut world, &node());
    for name in ["a", "b"] {
        let mut pod = pod();
        pod["metadata"]["name"] = json!(name);
        put(&mut world, &pod);
    }
    assert_eq!(world.drain_dirty().len(), 2);
    // The same object again, and one whose change nobody reads.
    put(&mut world, &node());
    let mut later = node();
    later["metadata"]["resourceVersion"] = json!("7");
    later["status"]["conditions"][0]["lastHeartbeatTime"] = json!("2026-01-01T00:00:00Z");
    put(&mut world, &later);
    assert!(!world.has_dirty());
    later["metadata"]["labels"]["new"] = json!("1");
    put(&mut world, &later);
    assert_eq!(world.drain_dirty().len(), 2);
    // A new list without one of the pods.
    world.take(0, Change::Pod(Event::Start));
    let mut pod = pod();
    pod["metadata"]["name"] = json!("a");
    put(&mut world, &pod);
    assert!(!world.has_dirty() && !world.pods.is_ready());
    world.take(0, Change::Pod(Event::Ready));
    assert!(world.pods.is_ready());
    assert_eq!(print(&mut world), ["[pod/shop/b] "]);
    world.take(0, Change::Pod(Event::Gone(Key::new("shop", "a"))));
    assert_eq!(print(&mut world), ["[pod/shop/a] "]);
    put(&mut world, &node());
    assert!(!world.has_dirty(), "nothing depends on the node any more");
}

#[test]
fn selectors_are_those_of_prometheus() {
    let selector = |role, label: &str, field: &str| RoleSelector {
        role,
        label: label.to_owned(),
        field: field.to_owned(),
    };
    let check = |role, selectors: Vec<RoleSelector>, expect: &str| {
        let mut config = Config::new(Access::InCluster, role);
        config.selectors = selectors;
        let fault = config.check().err().unwrap_or_default();
        assert!(
            fault.contains(expect) && fault.is_empty() == expect.is_empty(),
            "{fault}"
        );
    };
    check(
        Role::Pod,
        vec![selector(Role::Pod, "a=b", "spec.nodeName=n")],
        "",
    );
    check(
        Role::Node,
        vec![selector(Role::Pod, "", "")],
        "node role supports only node selectors",
    );
    check(
        Role::Endpoints,
        vec![selector(Role::EndpointSlice, "", "")],
        "endpoints role supports only pod, service, endpoints selectors",
    );
    let twice = || selector(Role::Pod, "", "");
    check(
        Role::Pod,
        vec![twice(), twice()],
        "duplicated selector role: pod",
    );
    check(
        Role::Pod,
        vec![selector(Role::Pod, "a in b", "")],
        "expected: '('",
    );
    check(
        Role::Pod,
        vec![selector(Role::Pod, "", "abc")],
        "can't understand",
    );
    let mut config = Config::new(
        Access::Kubeconfig {
            file: "f".into(),
            context: None,
        },
        Role::Pod,
    );
    config.own_namespace = true;
    assert_eq!(
        config.check().unwrap_err(),
        "cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously"
    );
    assert_eq!(Role::parse("endpointslice"), Some(Role::EndpointSlice));
    assert_eq!(Role::parse("ingres"), None);
}
