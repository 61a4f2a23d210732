// The pages and what each is reached by. A page's code is loaded when it is first opened.

import type { ComponentType } from 'preact';

export interface PageProps {
  /** The parts of the path behind the page's name. */
  path: string[];
}

type Loader = () => Promise<{ default: ComponentType<PageProps> }>;

export interface Page {
  name: string;
  title: string;
  load: Loader;
  /** Shown in the navigation, in this order. */
  nav?: string;
  /** Whether the range of time means something there. */
  timeless?: boolean;
}

export const PAGES: Page[] = [
  { name: '', title: 'Home', nav: 'Home', load: () => import('./pages/home') },
  { name: 'explore', title: 'Explore', nav: 'Explore', load: () => import('./explore/page') },
  { name: 'dashboards', title: 'Dashboards', nav: 'Dashboards', load: () => import('./dashboards/list') },
  { name: 'd', title: 'Dashboard', load: () => import('./pages/dashboard') },
  { name: 'service-map', title: 'Services', nav: 'Services', load: () => import('./pages/services') },
  { name: 'trace', title: 'Trace', load: () => import('./trace/page') },
  { name: 'compare', title: 'Compare traces', load: () => import('./trace/compare') },
  { name: 'kubernetes', title: 'Kubernetes', nav: 'Kubernetes', load: () => import('./kubernetes/page') },
  { name: 'alerts', title: 'Alerts', nav: 'Alerts', load: () => import('./alerts/page') },
  { name: 'errors', title: 'Errors', nav: 'Errors', load: () => import('./pages/errors') },
  { name: 'targets', title: 'Targets', nav: 'Targets', load: () => import('./pages/targets'), timeless: true },
  { name: 'cardinality', title: 'Cardinality', nav: 'Cardinality', load: () => import('./pages/cardinality') },
  { name: 'status', title: 'Status', nav: 'Status', load: () => import('./pages/status'), timeless: true },
];
