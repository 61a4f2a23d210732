// What every kind of panel is given to draw.

import type { ComponentType } from 'preact';
import type { DashboardContext, PanelTime } from '../context';
import type { StyledField } from '../fields';
import type { Frame } from '../frame';
import type { Panel } from '../model';
import type { PanelData } from '../queries';

export interface PanelProps {
  panel: Panel;
  /** What the queries answered, after transformations. */
  frames: Frame[];
  fields: StyledField[];
  data: PanelData;
  width: number;
  height: number;
  context: DashboardContext;
  time: PanelTime;
}

export interface PanelKind {
  draw: ComponentType<PanelProps>;
  /** Panels of single values choose colours by thresholds. */
  byThreshold?: boolean;
  /** What drawing needs beside the data; the panel is loading until both are there. */
  prepare?: () => Promise<unknown>;
  /** What is loaded instead of queries; it is in `data.extra`. */
  load?: (panel: Panel, context: DashboardContext, signal: AbortSignal) => Promise<unknown>;
  /** Draws without queries. */
  static?: boolean;
}
