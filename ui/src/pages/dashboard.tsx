// The address `/d/{uid}`; what stands behind the uid is only for people to read.

import DashboardPage from '../dashboards/page';
import type { PageProps } from '../pages';

export default function DashboardRoute({ path }: PageProps) {
  const uid = path[0] ?? '';
  return uid ? <DashboardPage key={uid} uid={uid} /> : <p class="quiet">The address names no dashboard.</p>;
}
