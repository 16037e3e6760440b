//! What can be said of a sample in one number.

use super::Sample;
use crate::lab::peer::Account;

/// Which number. Those of processors, soft interrupts and switches are per operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Median of the whole operation, in microseconds.
    P50,
    /// 90th percentile of the same.
    P90,
    /// 99th percentile of the same.
    P99,
    /// 99.9th percentile of the same.
    P999,
    /// Median of the connect alone, in microseconds.
    Connect,
    /// Operations per second.
    Rate,
    /// Operations per second of all proxies' time on a processor.
    PerCpuSecond,
    /// What they carried, in Gbit/s.
    Throughput,
    /// Time of all proxies in the way on a processor, in microseconds.
    ProxyCpu,
    /// The part of it that is the proxy's beside the server, where there is one.
    FarProxyCpu,
    /// The client's.
    ClientCpu,
    /// The server's.
    ServerCpu,
    /// Time in soft interrupts, in microseconds.
    Softirq,
    /// Context switches of proxies, client and server.
    Switches,
    /// Context switches of the proxies.
    ProxySwitches,
    /// The most resident memory of the proxy beside the client, in megabytes.
    PeakRss,
    /// The same beside the server, where there is one.
    FarPeakRss,
}

/// Which way of a figure is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    /// The less the better.
    Less,
    /// The more the better.
    More,
}

/// How a figure is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// As it is.
    Whole(Figure),
    /// Without what the same work has with no capture.
    Added(Figure),
}

impl Measure {
    pub(crate) fn figure(self) -> Figure {
        match self {
            Self::Whole(figure) | Self::Added(figure) => figure,
        }
    }
}

impl Figure {
    pub(super) fn better(self) -> Better {
        match self {
            Self::Rate | Self::PerCpuSecond | Self::Throughput => Better::More,
            _ => Better::Less,
        }
    }
}

impl Sample {
    /// A figure in its unit; none if the sample has none.
    pub(super) fn figure(&self, figure: Figure) -> Option<f64> {
        let (answer, proxies) = (&self.answer, self.proxy.and(self.far_proxy));
        let quantile = |part| Some(answer.whole.quantile(part) as f64 / 1e3);
        let each = |amount: u64| (answer.operations > 0).then(|| amount as f64 / answer.operations as f64);
        let microseconds_each = |nanoseconds: u64| Some(each(nanoseconds)? / 1e3);
        match figure {
            Figure::P50 => quantile(0.5),
            Figure::P90 => quantile(0.9),
            Figure::P99 => quantile(0.99),
            Figure::P999 => quantile(0.999),
            Figure::Connect => Some(answer.connect.as_ref()?.quantile(0.5) as f64 / 1e3),
            Figure::Rate => Some(answer.operations as f64 / answer.seconds),
            Figure::PerCpuSecond => {
                (proxies.cpu_ns > 0).then(|| answer.operations as f64 * 1e9 / proxies.cpu_ns as f64)
            }
            Figure::Throughput => Some(answer.bytes as f64 * 8.0 / 1e9 / answer.seconds),
            Figure::ProxyCpu => microseconds_each(proxies.cpu_ns),
            Figure::FarProxyCpu => {
                self.far_proxy_peak_rss.and_then(|_| microseconds_each(self.far_proxy.cpu_ns))
            }
            Figure::ClientCpu => microseconds_each(answer.account.cpu_ns),
            Figure::ServerCpu => microseconds_each(self.server.cpu_ns),
            Figure::Softirq => microseconds_each(self.softirq_ns?),
            Figure::Switches => {
                each([proxies, self.server, answer.account].map(Account::switches).iter().sum())
            }
            Figure::ProxySwitches => each(proxies.switches()),
            Figure::PeakRss => Some(self.proxy_peak_rss? as f64 / 1e6),
            Figure::FarPeakRss => Some(self.far_proxy_peak_rss? as f64 / 1e6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::sample;
    use super::*;
    use crate::bench::mode::Mode;

    #[test]
    fn every_figure_is_in_its_unit_and_per_operation() {
        let mut sample = sample(0, Mode::RelayEbpf, 1_000);
        sample.answer.operations = 4;
        sample.answer.seconds = 0.5;
        sample.answer.bytes = 1_000_000_000;
        sample.answer.account = Account { cpu_ns: 8_000, voluntary_switches: 4, involuntary_switches: 0 };
        sample.proxy = Account { cpu_ns: 16_000, voluntary_switches: 8, involuntary_switches: 4 };
        sample.server = Account { cpu_ns: 4_000, voluntary_switches: 3, involuntary_switches: 1 };
        sample.softirq_ns = Some(40_000_000);
        sample.proxy_peak_rss = Some(9_500_000);
        for (figure, expected) in [
            (Figure::P50, 1.0),
            (Figure::Rate, 8.0),
            (Figure::Throughput, 16.0),
            (Figure::ProxyCpu, 4.0),
            (Figure::PerCpuSecond, 250_000.0),
            (Figure::ClientCpu, 2.0),
            (Figure::ServerCpu, 1.0),
            (Figure::Softirq, 10_000.0),
            (Figure::Switches, 5.0),
            (Figure::ProxySwitches, 3.0),
            (Figure::PeakRss, 9.5),
        ] {
            assert_eq!(sample.figure(figure), Some(expected), "{figure:?}");
        }
        assert_eq!(sample.figure(Figure::Connect), None);
        assert_eq!(sample.figure(Figure::FarProxyCpu), None);
    }

    #[test]
    fn two_proxies_are_added_up_and_told_apart() {
        let mut sample = sample(0, Mode::Tunnel, 1_000);
        let account =
            |cpu_ns, voluntary_switches| Account { cpu_ns, voluntary_switches, ..Account::default() };
        (sample.proxy, sample.far_proxy) = (account(50_000, 10), account(30_000, 20));
        (sample.proxy_peak_rss, sample.far_proxy_peak_rss) = (Some(9_000_000), Some(8_000_000));
        for (figure, expected) in [
            (Figure::ProxyCpu, 8.0),
            (Figure::FarProxyCpu, 3.0),
            (Figure::ProxySwitches, 3.0),
            (Figure::PeakRss, 9.0),
            (Figure::FarPeakRss, 8.0),
        ] {
            assert_eq!(sample.figure(figure), Some(expected), "{figure:?}");
        }
    }
}
