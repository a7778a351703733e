package hl7v2

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// charset decodes the text of a message.
type charset struct {
	upper []rune // the meaning of the bytes from 0xA0 on; nil for UTF-8
	ascii bool   // no byte is above 0x7F
}

var (
	utf8Charset  = &charset{}
	asciiCharset = &charset{ascii: true}
	latin1       = &charset{upper: latin1Upper()}
)

func latin1Upper() []rune {
	list := make([]rune, 96)
	for i := range list {
		list[i] = rune(0xA0 + i)
	}
	return list
}

// charsets are the names of HL7 table 0211 that are taken, beside the tables.
var charsets = func() map[string]*charset {
	m := map[string]*charset{"ASCII": asciiCharset, "UNICODE UTF-8": utf8Charset, "UTF-8": utf8Charset, "8859/1": latin1}
	for name, upper := range uppers {
		m[name] = &charset{upper: []rune(upper)}
	}
	return m
}()

// decode returns b as UTF-8. Bytes outside the charset are an error or, in
// lenient mode, the replacement character.
func (c *charset) decode(b []byte, lenient bool) (string, error) {
	bad := fault("MSH", 18, codeDataType, "the text is not of this character set")
	if c.upper == nil {
		if c.ascii && !isASCII(b) || !utf8.Valid(b) {
			if !lenient {
				return "", bad
			}
			return strings.ToValidUTF8(string(b), "\uFFFD"), nil
		}
		return string(b), nil
	}
	var s strings.Builder
	for _, x := range b {
		r := rune(x)
		if x >= 0xA0 {
			r = c.upper[x-0xA0]
		} else if x >= 0x80 {
			r = utf8.RuneError
		}
		if r == utf8.RuneError && !lenient {
			return "", bad
		}
		s.WriteRune(r)
	}
	return s.String(), nil
}

func isASCII(b []byte) bool {
	for _, x := range b {
		if x >= 0x80 {
			return false
		}
	}
	return true
}

// decode finds the charset of the raw message b and returns its text. MSH-18 is
// ASCII itself, in every charset that is taken.
func (m *Message) decode(b []byte, lenient bool) (string, error) {
	end := bytes.IndexAny(b, "\r\n")
	if end < 0 {
		end = len(b)
	}
	head := string(b[:end])
	name := strings.TrimSpace(nth(nth(head, m.seps.Field, 17), m.seps.Repetition, 0))
	m.charset = charsets[name]
	if m.charset == nil && name != "" {
		return "", fault("MSH", 18, codeNotFound, "this character set is not taken")
	}
	if m.charset == nil {
		m.charset = asciiCharset
	}
	if m.charset.ascii && lenient && !isASCII(b) {
		if m.charset = latin1; utf8.Valid(b) {
			m.charset = utf8Charset
		}
	}
	return m.charset.decode(b, lenient)
}

// uppers are the upper halves of ISO 8859, from 0xA0 on. U+FFFD: not given away.
var uppers = map[string]string{
	"8859/2":  "\u00a0Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u00adŽŻ°ą˛ł´ľśˇ¸šşťź˝žżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
	"8859/3":  "\u00a0Ħ˘£¤�Ĥ§¨İŞĞĴ\u00ad�Ż°ħ²³´µĥ·¸ışğĵ½�żÀÁÂ�ÄĊĈÇÈÉÊËÌÍÎÏ�ÑÒÓÔĠÖ×ĜÙÚÛÜŬŜßàáâ�äċĉçèéêëìíîï�ñòóôġö÷ĝùúûüŭŝ˙",
	"8859/4":  "\u00a0ĄĸŖ¤ĨĻ§¨ŠĒĢŦ\u00adŽ¯°ą˛ŗ´ĩļˇ¸šēģŧŊžŋĀÁÂÃÄÅÆĮČÉĘËĖÍÎĪĐŅŌĶÔÕÖ×ØŲÚÛÜŨŪßāáâãäåæįčéęëėíîīđņōķôõö÷øųúûüũū˙",
	"8859/5":  "\u00a0ЁЂЃЄЅІЇЈЉЊЋЌ\u00adЎЏАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя№ёђѓєѕіїјљњћќ§ўџ",
	"8859/6":  "\u00a0���¤�������\u060c\u00ad�������������\u061b���\u061f�\u0621\u0622\u0623\u0624\u0625\u0626\u0627\u0628\u0629\u062a\u062b\u062c\u062d\u062e\u062f\u0630\u0631\u0632\u0633\u0634\u0635\u0636\u0637\u0638\u0639\u063a�����\u0640\u0641\u0642\u0643\u0644\u0645\u0646\u0647\u0648\u0649\u064a\u064b\u064c\u064d\u064e\u064f\u0650\u0651\u0652�������������",
	"8859/7":  "\u00a0‘’£€₯¦§¨©ͺ«¬\u00ad�―°±²³΄΅Ά·ΈΉΊ»Ό½ΎΏΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡ�ΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώ�",
	"8859/8":  "\u00a0�¢£¤¥¦§¨©×«¬\u00ad®¯°±²³´µ¶·¸¹÷»¼½¾��������������������������������‗\u05d0\u05d1\u05d2\u05d3\u05d4\u05d5\u05d6\u05d7\u05d8\u05d9\u05da\u05db\u05dc\u05dd\u05de\u05df\u05e0\u05e1\u05e2\u05e3\u05e4\u05e5\u05e6\u05e7\u05e8\u05e9\u05ea��\u200e\u200f�",
	"8859/9":  "\u00a0¡¢£¤¥¦§¨©ª«¬\u00ad®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ",
	"8859/15": "\u00a0¡¢£€¥Š§š©ª«¬\u00ad®¯°±²³Žµ¶·ž¹º»ŒœŸ¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ",
}
