// The transformations of a panel, one after the other. One that is not known is told, not guessed.

import { bool, obj, str, type Json } from '../../json';
import { matches } from '../fields';
import type { Frame } from '../frame';
import { calculateField, convertFieldType, extractFields, formatTime } from './columns';
import { concatenate, joinByField, labelsToFields, merge, partitionByValues, rowsToFields, seriesToRows, timeSeriesTable, transpose, groupingToMatrix } from './shape';
import { configFromData, formatString, heatmap, joinByLabels, prepareTimeSeries, regression, smoothing } from './model';
import { filterByRefId, filterByValue, filterFieldsByName, limit, organize, renameByRegex, sortBy } from './select';
import { groupBy, histogram, reduceRows } from './summarise';

export type Transform = (frames: Frame[], options: Json) => Frame[];

const TRANSFORMS: Record<string, Transform> = {
  organize, joinByField, seriesToColumns: joinByField, groupBy, calculateField, merge, filterFieldsByName, sortBy, extractFields, labelsToFields,
  filterByValue, reduce: reduceRows, renameByRegex, seriesToRows, convertFieldType, filterByRefId, rowsToFields, partitionByValues, timeSeriesTable,
  limit, concatenate, histogram, transpose, formatTime, groupingToMatrix,
  filterFields: (frames, options) => filterFieldsByName(frames, options),
  prepareTimeSeries, filterByName: filterFieldsByName,
  configFromData, joinByLabels, regression, heatmap, formatString, smoothing,
  groupToNestedTable: groupBy, convertFrameType: (frames) => frames, ensureColumns: (frames) => frames,
  filterFrames: filterByRefId, append: concatenate, rename: organize, order: organize,
  noop: (frames) => frames,
};

export class UnknownTransform extends Error {}

export function transform(frames: Frame[], steps: Json[]): Frame[] {
  return steps.filter((step) => !bool(step.disabled)).reduce((before, step) => {
    const apply = TRANSFORMS[str(step.id)];
    if (!apply) throw new UnknownTransform(`transformation ${str(step.id)} is not supported`);
    const filter = obj(step.filter);
    if (!filter.id) return apply(before, obj(step.options));
    const taken = (frame: Frame) => frame.fields.some((field) => matches(filter, field, frame, before));
    return [...apply(before.filter(taken), obj(step.options)), ...before.filter((frame) => !taken(frame))];
  }, frames);
}
