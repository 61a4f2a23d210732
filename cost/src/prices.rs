//! Prices: OpenCost's defaults, a list in its CSV format, and changes over time.
//!
//! Invariant: where the price of a whole node is known, the rates of its resources add up to it and
//! stand to each other as the default prices do (OpenCost's specification, appendix A).

use crate::GIB;
use crate::cluster::{Node, Volume};
use crate::csv::{Class, Row};
use crate::error::CostError;
use crate::span::Span;

/// Prices in dollars; names are OpenCost's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// A core for an hour.
    pub cpu: f64,
    /// The same of a spot node.
    pub spot_cpu: f64,
    /// A GiB of memory for an hour.
    pub ram: f64,
    /// The same of a spot node.
    pub spot_ram: f64,
    /// A GPU for an hour.
    pub gpu: f64,
    /// A GiB of a volume for an hour.
    pub storage: f64,
    /// A load balancer for an hour.
    pub load_balancer: f64,
    /// A GiB to another zone.
    pub zone_egress: f64,
    /// A GiB to another region.
    pub region_egress: f64,
    /// A GiB out of the cloud.
    pub internet_egress: f64,
    /// The cluster's management for an hour.
    pub cluster_management: f64,
}

impl Default for Prices {
    /// OpenCost's, which are those of GCP's us-central1; its load balancers cost what AWS's do.
    fn default() -> Self {
        Self {
            cpu: 0.031611,
            spot_cpu: 0.006655,
            ram: 0.004237,
            spot_ram: 0.000892,
            gpu: 0.95,
            storage: 0.000_054_794_52,
            load_balancer: 0.025,
            zone_egress: 0.01,
            region_egress: 0.01,
            internet_egress: 0.12,
            cluster_management: 0.0,
        }
    }
}

impl Prices {
    /// Names as they are configured and as OpenCost's file has them.
    const NAMES: [(&'static str, &'static str); 11] = [
        ("cpu", "CPU"),
        ("spot_cpu", "spotCPU"),
        ("ram", "RAM"),
        ("spot_ram", "spotRAM"),
        ("gpu", "GPU"),
        ("storage", "storage"),
        ("load_balancer", "defaultLBPrice"),
        ("zone_egress", "zoneNetworkEgress"),
        ("region_egress", "regionNetworkEgress"),
        ("internet_egress", "internetNetworkEgress"),
        ("cluster_management", "clusterManagement"),
    ];

    /// Sets one by either of its names; `false` where nobody knows the name.
    pub fn set(&mut self, name: &str, value: f64) -> Result<bool, CostError> {
        let known = Self::NAMES
            .iter()
            .find(|(own, theirs)| *own == name || *theirs == name);
        let Some((own, _)) = known else {
            return Ok(false);
        };
        if !value.is_finite() || value < 0.0 {
            let message = format!("{name}: expected a price of at least 0, found {value}");
            return Err(CostError::Invalid(message));
        }
        let place = match *own {
            "cpu" => &mut self.cpu,
            "spot_cpu" => &mut self.spot_cpu,
            "ram" => &mut self.ram,
            "spot_ram" => &mut self.spot_ram,
            "gpu" => &mut self.gpu,
            "storage" => &mut self.storage,
            "load_balancer" => &mut self.load_balancer,
            "zone_egress" => &mut self.zone_egress,
            "region_egress" => &mut self.region_egress,
            "internet_egress" => &mut self.internet_egress,
            _ => &mut self.cluster_management,
        };
        *place = value;
        Ok(true)
    }
}

/// What a node's resources cost for an hour: a core, a GiB, a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// A core.
    pub cpu: f64,
    /// A GiB of memory.
    pub ram: f64,
    /// A GPU.
    pub gpu: f64,
}

/// The rates of a node whose whole price is known: they stand to each other as `base` does.
pub fn split(price: f64, (cpus, gib, gpus): (f64, f64, f64), base: Rates) -> Rates {
    let whole = base.cpu * cpus + base.ram * gib + base.gpu * gpus;
    if whole <= 0.0 {
        return Rates::default();
    }
    let scale = price / whole;
    Rates {
        cpu: base.cpu * scale,
        ram: base.ram * scale,
        gpu: base.gpu * scale,
    }
}

/// Whether labels say that a node can be taken away for being cheap.
pub fn is_spot(node: &Node) -> bool {
    const SAYS: [(&str, &str); 9] = [
        ("karpenter_sh_capacity_type", "spot"),
        ("eks_amazonaws_com_capacitytype", "spot"),
        ("eks_amazonaws_com_capacity_type", "spot"),
        ("cloud_google_com_gke_spot", "true"),
        ("cloud_google_com_gke_preemptible", "true"),
        ("kubernetes_azure_com_scalesetpriority", "spot"),
        ("node_spot_io_lifecycle", "spot"),
        ("kops_k8s_io_instance_lifecycle", "spot"),
        ("lifecycle", "spot"),
    ];
    node.labels.iter().any(|(name, value)| {
        let (name, value) = (name.to_ascii_lowercase(), value.to_ascii_lowercase());
        // Metrics write `capacityType` as `capacityType` or as `capacity_type`.
        SAYS.iter().any(|says| *says == (&name, &value))
    })
}

/// All prices: what holds from when on, and a list for single things.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// In order of time; before the first the first holds.
    changes: Vec<(i64, Prices)>,
    rows: Vec<Row>,
}

impl Book {
    /// `first` holds until the first change.
    pub fn new(first: Prices, mut changes: Vec<(i64, Prices)>, rows: Vec<Row>) -> Self {
        changes.push((i64::MIN, first));
        changes.sort_by_key(|change| change.0);
        Self { changes, rows }
    }

    /// A book with a list in OpenCost's CSV format.
    pub fn with_csv(
        first: Prices,
        changes: Vec<(i64, Prices)>,
        text: &str,
    ) -> Result<Self, CostError> {
        Ok(Self::new(first, changes, crate::csv::parse(text)?))
    }

    /// The prices of a time.
    pub fn at(&self, at: i64) -> Prices {
        let after = self.changes.partition_point(|change| change.0 <= at);
        let found = self.changes.get(after.saturating_sub(1));
        found.map_or_else(Prices::default, |change| change.1)
    }

    /// The times at which something may have another price.
    pub fn edges(&self) -> impl Iterator<Item = i64> + '_ {
        let ends = self.rows.iter().filter_map(|row| row.end);
        self.changes.iter().map(|change| change.0).chain(ends)
    }

    /// What a node's resources cost at a time.
    pub fn node(&self, node: &Node, at: i64) -> Rates {
        let prices = self.at(at);
        let spot = is_spot(node);
        let base = Rates {
            cpu: if spot { prices.spot_cpu } else { prices.cpu },
            ram: if spot { prices.spot_ram } else { prices.ram },
            gpu: prices.gpu,
        };
        let size = (node.cpu.at(at), node.ram.at(at) / GIB, node.gpu.at(at));
        let gpu = self.price(at, |row| row.class == Class::Gpu && row.names_node(node));
        let whole = self.price(at, |row| row.class == Class::Node && row.names_node(node));
        let whole = whole.or_else(|| self.class_price(node, at));
        match (whole, gpu) {
            (None, None) => base,
            (None, Some(gpu)) => Rates { gpu, ..base },
            (Some(price), None) => split(price, size, base),
            // A list with GPUs says what the node costs without them.
            (Some(price), Some(gpu)) => {
                let rest = split(price, (size.0, size.1, 0.0), base);
                Rates { gpu, ..rest }
            }
        }
    }

    /// What a GiB of a volume costs for an hour.
    pub fn volume(&self, volume: &Volume, at: i64) -> f64 {
        let listed = self.price(at, |row| {
            row.class == Class::Volume && row.names_volume(volume)
        });
        listed.unwrap_or_else(|| self.at(at).storage)
    }

    /// The price of the rows that are about something: the first that still holds, else the last.
    fn price(&self, at: i64, about: impl Fn(&Row) -> bool) -> Option<f64> {
        let mut last = None;
        for row in self.rows.iter().filter(|row| about(row)) {
            last = Some(row.price);
            if row.end.is_none_or(|end| at < end) {
                break;
            }
        }
        last
    }

    /// The mean price of listed nodes of the same type and region.
    fn class_price(&self, node: &Node, at: i64) -> Option<f64> {
        let kind = node.instance_type();
        if kind.is_empty() {
            return None;
        }
        let alike = self.rows.iter().filter(|row| {
            row.class == Class::Node
                && row.instance_type.eq_ignore_ascii_case(kind)
                && row.region.eq_ignore_ascii_case(node.region())
                && row.end.is_none_or(|end| at < end)
        });
        let (sum, count) = alike.fold((0.0, 0.0), |(s, n), row| (s + row.price, n + 1.0));
        (count > 0.0).then(|| sum / count)
    }

    /// The price of a node that would be of this type, from the list.
    pub fn listed(&self, instance_type: &str, at: i64) -> Option<f64> {
        let node = Node {
            labels: [(
                "node_kubernetes_io_instance_type".to_owned(),
                instance_type.to_owned(),
            )]
            .into(),
            ..Node::default()
        };
        self.class_price(&node, at)
    }

    /// Rate × amount over a span, in pieces of one price each: `rate` by time, `amount` per hour.
    pub(crate) fn integrate(&self, span: Span, cost_per_hour: impl Fn(i64) -> f64) -> f64 {
        let pieces = span.cut(self.edges());
        let cost = |piece: &Span| cost_per_hour(piece.start) * piece.hours();
        pieces.iter().map(cost).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Steps;

    fn node(name: &str, labels: &[(&str, &str)]) -> Node {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Node {
            name: name.to_owned(),
            labels: labels.collect(),
            cpu: Steps::constant(1.0),
            ram: Steps::constant(GIB),
            gpu: Steps::constant(1.0),
            ..Node::default()
        }
    }

    #[test]
    fn the_worked_example_of_the_specification() {
        let base = Rates {
            cpu: 30.0,
            ram: 10.0,
            gpu: 30.0,
        };
        let found = split(35.0, (1.0, 1.0, 1.0), base);
        assert_eq!(
            found,
            Rates {
                cpu: 15.0,
                ram: 5.0,
                gpu: 15.0
            }
        );
        assert_eq!(split(35.0, (0.0, 0.0, 0.0), base), Rates::default());
    }

    #[test]
    fn spot_nodes_are_known_by_their_labels() {
        let check = |label: (&str, &str), expect: bool| {
            assert_eq!(is_spot(&node("a", &[label])), expect, "{label:?}");
        };
        check(("karpenter_sh_capacity_type", "spot"), true);
        check(("eks_amazonaws_com_capacityType", "SPOT"), true);
        check(("cloud_google_com_gke_spot", "true"), true);
        check(("kubernetes_azure_com_scalesetpriority", "spot"), true);
        check(("karpenter_sh_capacity_type", "on-demand"), false);
        let spot = node("a", &[("karpenter_sh_capacity_type", "spot")]);
        let rates = Book::new(Prices::default(), vec![], vec![]).node(&spot, 0);
        assert_eq!((rates.cpu, rates.ram), (0.006655, 0.000892));
    }

    #[test]
    fn listed_prices_win_and_change_with_time() {
        const LIST: &str = "EndTimestamp,InstanceID,Region,AssetClass,InstanceIDField,InstanceType,MarketPriceHourly,Version\n\
            # by hand\n\
            1970-01-01 00:01:40 UTC,n1,,node,metadata.name,,0.5,\n\
            ,n1,,node,metadata.name,,0.7,\n\
            ,tesla,,gpu,metadata.labels.nvidia.com/gpu.product,,2,\n\
            ,fast,,pv,spec.storageClassName,,0.0001,\n\
            ,other,,node,metadata.name,m5.large,0.1,\n";
        let book = Book::with_csv(Prices::default(), vec![], LIST).unwrap();
        let second = 1_000_000_000;
        let whole = |node: &Node, at: i64| {
            let rates = book.node(node, at * second);
            rates.cpu + rates.ram + rates.gpu
        };
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        near(whole(&node("N1", &[]), 99), 0.5);
        near(whole(&node("n1", &[]), 100), 0.7);
        let mixed = node("n1", &[("nvidia_com_gpu_product", "Tesla")]);
        near(whole(&mixed, 100), 2.7);
        let alike = node("n7", &[("node_kubernetes_io_instance_type", "m5.large")]);
        near(whole(&alike, 0), 0.1);
        assert_eq!(book.node(&node("n9", &[]), 0).cpu, 0.031611);
        let volume = |class: &str| Volume {
            class: class.to_owned(),
            ..Volume::default()
        };
        near(book.volume(&volume("fast"), 0), 0.0001);
        near(book.volume(&volume("slow"), 0), 0.000_054_794_52);
    }

    #[test]
    fn prices_hold_from_their_time_on() {
        let dear = Prices {
            cpu: 1.0,
            ..Prices::default()
        };
        let book = Book::new(Prices::default(), vec![(3_600_000_000_000, dear)], vec![]);
        let cost = book.integrate(Span::new(0, 7_200_000_000_000), |at| book.at(at).cpu);
        assert!((cost - 1.031611).abs() < 1e-12);
    }

    #[test]
    fn prices_by_either_name() {
        let mut prices = Prices::default();
        assert_eq!(prices.set("spotCPU", 2.0), Ok(true));
        assert_eq!(prices.set("load_balancer", 3.0), Ok(true));
        assert_eq!((prices.spot_cpu, prices.load_balancer), (2.0, 3.0));
        assert_eq!(prices.set("provider", 0.0), Ok(false));
        assert!(prices.set("cpu", -1.0).is_err());
    }
}
