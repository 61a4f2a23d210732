// Kinds of panels by the names that dashboards use.

import { loadLayout } from '../../parts/graph';
import { BarChartPanel, HistogramPanel } from './bars';
import { CandlesPanel } from './candles';
import { CanvasPanel } from './canvas';
import { FlamePanel } from './flamegraph';
import { GeomapPanel } from './geomap';
import { BarGaugePanel, GaugePanel } from './gauges';
import { HeatmapPanel } from './heatmap';
import { AnnotationListPanel, AlertListPanel, DashListPanel, loadAlerts, loadDashboards } from './lists';
import { LogsPanel, NodeGraphPanel, TracesPanel } from './others';
import { PiePanel } from './pie';
import { StatesPanel } from './states';
import { StatPanel } from './stat';
import { TablePanel } from './table';
import { TextPanel } from './text';
import { TimeseriesPanel } from './timeseries';
import type { PanelKind } from './types';
import { TrendPanel, XyPanel } from './xy';

export const KINDS: Record<string, PanelKind> = {
  timeseries: { draw: TimeseriesPanel },
  trend: { draw: TrendPanel },
  xychart: { draw: XyPanel },
  candlestick: { draw: CandlesPanel },
  flamegraph: { draw: FlamePanel },
  geomap: { draw: GeomapPanel },
  canvas: { draw: CanvasPanel },
  datagrid: { draw: TablePanel, byThreshold: true },
  stat: { draw: StatPanel, byThreshold: true },
  gauge: { draw: GaugePanel, byThreshold: true },
  bargauge: { draw: BarGaugePanel, byThreshold: true },
  table: { draw: TablePanel, byThreshold: true },
  logs: { draw: LogsPanel },
  text: { draw: TextPanel, static: true },
  heatmap: { draw: HeatmapPanel },
  piechart: { draw: PiePanel },
  barchart: { draw: BarChartPanel },
  histogram: { draw: HistogramPanel },
  'state-timeline': { draw: StatesPanel, byThreshold: true },
  'status-history': { draw: StatesPanel, byThreshold: true },
  traces: { draw: TracesPanel },
  nodeGraph: { draw: NodeGraphPanel, prepare: loadLayout },
  alertlist: { draw: AlertListPanel, load: loadAlerts },
  dashlist: { draw: DashListPanel, load: loadDashboards },
  annolist: { draw: AnnotationListPanel, static: true },
};
