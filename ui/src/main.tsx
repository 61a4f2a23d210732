import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import { BASE } from './base';
import { listen } from './route';
import { Shell } from './shell';
import './style/base.css';
import './style/parts.css';
import './style/charts.css';
import './style/panels.css';
import { start } from './theme';

// From here on the address changes without a new page: what is relative to it must not.
document.querySelector('base')?.setAttribute('href', BASE);
start();
listen();
const root = document.getElementById('app');
if (root) render(<Shell />, root);
