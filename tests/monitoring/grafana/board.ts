// SPDX-License-Identifier: GPL-3.0-or-later
// The type of the dashboard's JSON: Grafana's own types, with the options of each kind of panel that it has.
import type { Dashboard, Panel, RowPanel } from '@grafana/schema';
import type * as bargauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as timeline from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// As JSON has it: enums as their values; what is left out, Grafana fills in.
type Json<T> = T extends string ? `${T}` : T extends (infer U)[] ? Json<U>[] : T extends object ? { [K in keyof T]?: Json<T[K]> } : T;

type PanelOf<Type, Options, Field> = Omit<Json<Panel>, 'type' | 'options' | 'fieldConfig' | 'targets'> & {
  type: Type;
  options: Json<Options>;
  fieldConfig: { defaults: Omit<Json<NonNullable<Panel['fieldConfig']>['defaults']>, 'custom'> & { custom?: Json<Field> }; overrides: unknown[] };
  targets: Query[];
};

// Grafana has no package with this type.
interface Query {
  expr: string;
  refId: string;
  legendFormat: string;
  instant: boolean;
  range: boolean;
  format?: 'table' | 'time_series';
  datasource: { type: 'prometheus'; uid: string };
}

export type Board = Omit<Json<Dashboard>, 'panels'> & {
  panels: (
    | (Json<RowPanel> & { type: 'row' })
    | PanelOf<'stat', stat.Options, never>
    | PanelOf<'bargauge', bargauge.Options, never>
    | PanelOf<'timeseries', timeseries.Options, timeseries.FieldConfig>
    | PanelOf<'state-timeline', timeline.Options, timeline.FieldConfig>
    | PanelOf<'table', table.Options, table.FieldConfig>
  )[];
};
