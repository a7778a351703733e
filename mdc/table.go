package mdc

// LOINC codes that stand in several rows.
const (
	heartRate   = "8867-4"
	pulseOxim   = "8889-8"
	systolic    = "8480-6"
	diastolic   = "8462-4"
	mean        = "8478-0"
	breath      = "9279-1"
	temperature = "8310-5"
	glucose     = "2339-0"
)

var (
	glucoseMoles = otherQuantity{"mmol/L", "15074-8"}
	fraction     = otherQuantity{"%", "19889-5"}
)

// How pressures and pulses were taken: with the Site it keeps two sensors apart.
const (
	cuff     = "cuff"
	arterial = "arterial line"
)

var metrics = []Metric{
	// Heart and pulse.
	{Code: 147842, Name: "MDC_ECG_HEART_RATE", LOINC: heartRate},                                 // S M W
	{Code: 149514, Name: "MDC_PULS_RATE", LOINC: heartRate, Site: "pulse"},                       // M P
	{Code: 149546, Name: "MDC_PULS_RATE_NON_INV", LOINC: heartRate, Site: "pulse", Method: cuff}, // H W
	{Code: 149530, Name: "MDC_PULS_OXIM_PULS_RATE", LOINC: pulseOxim},                            // H W
	{Code: 149538, Name: "MDC_PLETH_PULS_RATE", LOINC: pulseOxim, Site: "plethysmogram"},         // P

	// Blood pressure.
	{Code: 150021, Name: "MDC_PRESS_BLD_NONINV_SYS", LOINC: systolic, Method: cuff},                       // H P W
	{Code: 150022, Name: "MDC_PRESS_BLD_NONINV_DIA", LOINC: diastolic, Method: cuff},                      // H P W
	{Code: 150023, Name: "MDC_PRESS_BLD_NONINV_MEAN", LOINC: mean, Method: cuff},                          // H P W
	{Code: 150017, Name: "MDC_PRESS_BLD_SYS", LOINC: systolic},                                            // M W
	{Code: 150018, Name: "MDC_PRESS_BLD_DIA", LOINC: diastolic},                                           // M W
	{Code: 150019, Name: "MDC_PRESS_BLD_MEAN", LOINC: mean},                                               // M W
	{Code: 150301, Name: "MDC_PRESS_CUFF_SYS", LOINC: systolic, Method: cuff},                             // W
	{Code: 150302, Name: "MDC_PRESS_CUFF_DIA", LOINC: diastolic, Method: cuff},                            // W
	{Code: 150303, Name: "MDC_PRESS_CUFF_MEAN", LOINC: mean, Method: cuff},                                // W
	{Code: 150033, Name: "MDC_PRESS_BLD_ART_SYS", LOINC: systolic, Site: "artery", Method: arterial},      // P W
	{Code: 150034, Name: "MDC_PRESS_BLD_ART_DIA", LOINC: diastolic, Site: "artery", Method: arterial},     // P W
	{Code: 150035, Name: "MDC_PRESS_BLD_ART_MEAN", LOINC: mean, Site: "artery", Method: arterial},         // P
	{Code: 150037, Name: "MDC_PRESS_BLD_ART_ABP_SYS", LOINC: systolic, Site: "artery", Method: arterial},  // S P W
	{Code: 150038, Name: "MDC_PRESS_BLD_ART_ABP_DIA", LOINC: diastolic, Site: "artery", Method: arterial}, // P
	{Code: 150039, Name: "MDC_PRESS_BLD_ART_ABP_MEAN", LOINC: mean, Site: "artery", Method: arterial},     // P
	{Code: 150084, Name: "MDC_PRESS_BLD_VEN_CENT", LOINC: "60985-9"},                                      // M P
	{Code: 150087, Name: "MDC_PRESS_BLD_VEN_CENT_MEAN", LOINC: "60985-9", Site: "vena cava"},              // P

	// Temperature.
	{Code: 150344, Name: "MDC_TEMP", LOINC: temperature},                                      // P W
	{Code: 150364, Name: "MDC_TEMP_BODY", LOINC: temperature, Site: "body"},                   // H P
	{Code: 150368, Name: "MDC_TEMP_CORE", LOINC: temperature, Site: "core"},                   // M P
	{Code: 150372, Name: "MDC_TEMP_ESOPH", LOINC: temperature, Site: "oesophagus"},            // M P
	{Code: 150380, Name: "MDC_TEMP_NASOPH", LOINC: temperature, Site: "nasopharynx"},          // M P
	{Code: 150388, Name: "MDC_TEMP_SKIN", LOINC: temperature, Site: "skin"},                   // P
	{Code: 150392, Name: "MDC_TEMP_TYMP", LOINC: temperature, Site: "tympanum"},               // M P
	{Code: 188420, Name: "MDC_TEMP_RECT", LOINC: temperature, Site: "rectum"},                 // H M P
	{Code: 188424, Name: "MDC_TEMP_ORAL", LOINC: temperature, Site: "mouth"},                  // H M
	{Code: 188428, Name: "MDC_TEMP_EAR", LOINC: temperature, Site: "ear"},                     // H
	{Code: 188432, Name: "MDC_TEMP_FINGER", LOINC: temperature, Site: "finger"},               // H
	{Code: 188436, Name: "MDC_TEMP_BLD", LOINC: temperature, Site: "blood"},                   // M P
	{Code: 188448, Name: "MDC_TEMP_TOE", LOINC: temperature, Site: "toe"},                     // H
	{Code: 188452, Name: "MDC_TEMP_AXILLA", LOINC: temperature, Site: "axilla"},               // H M
	{Code: 188456, Name: "MDC_TEMP_GIT", LOINC: temperature, Site: "gastro-intestinal tract"}, // H
	{Code: 188496, Name: "MDC_TEMP_AXIL", LOINC: temperature, Site: "axilla"},                 // M W

	// Breath and gases.
	{Code: 151562, Name: "MDC_RESP_RATE", LOINC: breath},                            // H P W
	{Code: 151570, Name: "MDC_AWAY_RESP_RATE", LOINC: breath, Site: "airway"},       // P
	{Code: 151578, Name: "MDC_TTHOR_RESP_RATE", LOINC: breath, Site: "thorax"},      // W; OpenICE
	{Code: 150456, Name: "MDC_PULS_OXIM_SAT_O2", LOINC: "59408-5"},                  // H S M P W
	{Code: 151708, Name: "MDC_CONC_AWAY_CO2_ET", LOINC: "19891-1", other: fraction}, // M; OpenICE
	{Code: 151728, Name: "MDC_AWAY_CO2_ET", LOINC: "19891-1", other: fraction},      // P
	{Code: 152196, Name: "MDC_CONC_AWAY_O2_INSP", LOINC: "3150-0"},                  // P

	// Glucose. Plasma is another specimen than LOINC's codes here, and left out.
	{Code: 160184, Name: "MDC_CONC_GLU_CAPILLARY_WHOLEBLOOD", LOINC: "41653-7", Site: "capillary", other: glucoseMoles}, // H W
	{Code: 160020, Name: "MDC_CONC_GLU_GEN", LOINC: glucose, other: glucoseMoles},                                       // H
	{Code: 160192, Name: "MDC_CONC_GLU_VENOUS_WHOLEBLOOD", LOINC: glucose, Site: "vein", other: glucoseMoles},           // H
	{Code: 160200, Name: "MDC_CONC_GLU_ARTERIAL_WHOLEBLOOD", LOINC: glucose, Site: "artery", other: glucoseMoles},       // H
	{Code: 160212, Name: "MDC_CONC_GLU_ISF", LOINC: "99504-3", other: otherQuantity{"mmol/L", "105272-9"}},              // H

	// The body.
	{Code: 188736, Name: "MDC_MASS_BODY_ACTUAL", LOINC: "29463-7"},       // H
	{Code: 188740, Name: "MDC_LEN_BODY_ACTUAL", LOINC: "8302-2"},         // H W
	{Code: 188752, Name: "MDC_RATIO_MASS_BODY_LEN_SQ", LOINC: "39156-5"}, // H

	// Without a LOINC code that means the same.
	{Code: 150448, Name: "MDC_PULS_OXIM_PERF_REL"}, // H P
	{Code: 150452, Name: "MDC_PULS_OXIM_PLETH"},    // H P
}

// Numbers of units are 4·65536 and the number that H and P give within that
// partition.
var units = []Unit{
	{264864, "MDC_DIM_BEAT_PER_MIN", "/min"},       // H P W
	{264928, "MDC_DIM_RESP_PER_MIN", "/min"},       // H P W
	{264896, "MDC_DIM_PULS_PER_MIN", "/min"},       // P
	{264672, "MDC_DIM_PER_MIN", "/min"},            // P
	{262688, "MDC_DIM_PERCENT", "%"},               // H P W
	{262656, "MDC_DIM_DIMLESS", "1"},               // H P
	{266016, "MDC_DIM_MMHG", "mm[Hg]"},             // H S P W
	{265987, "MDC_DIM_KILO_PASCAL", "kPa"},         // H P
	{265986, "MDC_DIM_HECTO_PASCAL", "hPa"},        // P
	{266048, "MDC_DIM_CM_H2O", "cm[H2O]"},          // P
	{268192, "MDC_DIM_DEGC", "Cel"},                // P W
	{266560, "MDC_DIM_FAHR", "[degF]"},             // P W
	{266528, "MDC_DIM_KELVIN", "K"},                // P
	{265216, "MDC_DIM_X_L_PER_MIN", "L/min"},       // H P
	{265234, "MDC_DIM_MILLI_L_PER_MIN", "mL/min"},  // P
	{265266, "MDC_DIM_MILLI_L_PER_HR", "mL/h"},     // P
	{263744, "MDC_DIM_X_L", "L"},                   // H P
	{263762, "MDC_DIM_MILLI_L", "mL"},              // P
	{263875, "MDC_DIM_KILO_G", "kg"},               // H P
	{263872, "MDC_DIM_X_G", "g"},                   // H P
	{263904, "MDC_DIM_LB", "[lb_av]"},              // H P
	{263441, "MDC_DIM_CENTI_M", "cm"},              // H P
	{263424, "MDC_DIM_X_M", "m"},                   // H P
	{263520, "MDC_DIM_X_INCH", "[in_i]"},           // H P
	{264096, "MDC_DIM_KG_PER_M_SQ", "kg/m2"},       // H
	{264274, "MDC_DIM_MILLI_G_PER_DL", "mg/dL"},    // H P W
	{266866, "MDC_DIM_MILLI_MOLE_PER_L", "mmol/L"}, // P
	{264320, "MDC_DIM_SEC", "s"},                   // H P
	{264338, "MDC_DIM_MILLI_SEC", "ms"},            // P
	{266418, "MDC_DIM_MILLI_VOLT", "mV"},           // P
	{266419, "MDC_DIM_MICRO_VOLT", "uV"},           // P
}

// The terms of IHE's alert communication (transaction PCD-04), all from S.
var (
	EvtAlarm            = Term{196616, "MDC_EVT_ALARM"}
	EvtActive           = Term{196614, "MDC_EVT_ACTIVE"}
	EvtHigh             = Term{196648, "MDC_EVT_HI"}
	EvtLowLimit         = Term{196674, "MDC_EVT_LO_VAL_LT_LIM"}
	EvtLeadsOff         = Term{196882, "MDC_EVT_LEADS_OFF"}
	AttrAlertSource     = Term{68480, "MDC_ATTR_ALERT_SOURCE"}
	AttrEventPhase      = Term{68481, "MDC_ATTR_EVENT_PHASE"}
	AttrAlarmState      = Term{68482, "MDC_ATTR_ALARM_STATE"}
	AttrInactivation    = Term{68483, "MDC_ATTR_ALARM_INACTIVATION_STATE"}
	AttrAlarmPriority   = Term{68484, "MDC_ATTR_ALARM_PRIORITY"}
	AttrAlertType       = Term{68485, "MDC_ATTR_ALERT_TYPE"}
	DevMultiParamDevice = Term{69965, "MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS"}
)

var terms = []Term{EvtAlarm, EvtActive, EvtHigh, EvtLowLimit, EvtLeadsOff, AttrAlertSource, AttrEventPhase, AttrAlarmState, AttrInactivation,
	AttrAlarmPriority, AttrAlertType, DevMultiParamDevice}
